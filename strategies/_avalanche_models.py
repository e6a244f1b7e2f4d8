"""What Avalanche's strategies want around a model of ours."""

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from avalanche.models import (
    BaseModel,
    FeCAMClassifier,
    MultiTaskModule,
    NCMClassifier,
    SCRModel,
    TrainEvalModel,
)
from avalanche.models.packnet import PackNetModel
from avalanche.models.utils import FeatureExtractorModel
from torch import Tensor, nn

from retrograde import HEAD

MASKED = -1e9
"""The output of another task's unit. Finite, since zero times infinity is no number in a distillation loss."""


class Parted(nn.Module, BaseModel):  # type: ignore[misc]
    """A model of ours under the names that Avalanche's strategies look for; the parameters are the model's own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        head = getattr(model, HEAD, None)
        self.feature_extractor, self.classifier = model, cast("nn.Module", nn.Identity())
        if isinstance(head, nn.Module):
            body = copy.copy(model)
            body._modules = {**model._modules, HEAD: nn.Identity()}  # noqa: SLF001 - a module that shares all but its head
            self.feature_extractor, self.classifier = body, head

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The outputs, whatever the task."""
        outputs: Tensor = self.classifier(self.feature_extractor(x))
        return outputs

    def get_features(self, x: Tensor) -> Any:
        """What the head is given."""
        return self.feature_extractor(x)


class Told(MultiTaskModule):  # type: ignore[misc]
    """A model that is told the task of each example and answers with that task's units."""

    units: Tensor

    def __init__(self, model: Parted, units: Tensor) -> None:
        super().__init__()
        self.feature_extractor, self.classifier = model.feature_extractor, model.classifier
        self.register_buffer("units", units)

    def forward(self, x: Tensor, task_labels: Tensor | int | None) -> Any:
        """The outputs, those of other tasks' units masked; by task, where none is told."""
        if task_labels is None:
            return self.forward_all_tasks(x)
        labels = torch.as_tensor(task_labels).expand(len(x))
        return self.classifier(self.feature_extractor(x)).masked_fill(~self.units[labels], MASKED)

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        """The same for one task."""
        outputs: Tensor = self.forward(x, task_label)
        return outputs


def _features_kept(model: Parted) -> Any:
    return FeatureExtractorModel(model.feature_extractor, model.classifier)


def _means_at_test(model: Parted) -> Any:
    return TrainEvalModel(model.feature_extractor, model.classifier, NCMClassifier())


def _covariances_at_test(model: Parted) -> Any:
    return TrainEvalModel(model.feature_extractor, model.classifier, FeCAMClassifier())


def _projected(model: Parted) -> Any:
    return SCRModel(model.feature_extractor, model.classifier)


WRAPPED: dict[str, Callable[[Parted], Any]] = {
    "PackNet": PackNetModel,
    "SCR": _projected,
    "FeatureDistillationPlugin": _features_kept,
    "CurrentDataNCMUpdate": _means_at_test,
    "MemoryNCMUpdate": _means_at_test,
    "CurrentDataFeCAMUpdate": _covariances_at_test,
    "MemoryFeCAMUpdate": _covariances_at_test,
}
"""What a strategy wants around a model."""
