"""The forms in which the strategies of Avalanche take a model."""

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
"""The output of a unit of another task.

It is finite, since zero times infinity is NaN in a distillation loss.
"""


class SplitModel(nn.Module, BaseModel):  # type: ignore[misc]
    """A model split into `feature_extractor` and `classifier`, the names that Avalanche expects.

    The parameters are shared with the model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        head = getattr(model, HEAD, None)
        self.feature_extractor = model
        self.classifier = cast("nn.Module", nn.Identity())
        if isinstance(head, nn.Module):
            # A shallow copy shares every module but the head with the model.
            body = copy.copy(model)
            body._modules = {**model._modules, HEAD: nn.Identity()}  # noqa: SLF001
            self.feature_extractor = body
            self.classifier = head

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The outputs; the task `t` is ignored."""
        features = self.feature_extractor(x)
        outputs: Tensor = self.classifier(features)
        return outputs

    def get_features(self, x: Tensor) -> Any:
        """The inputs of the head."""
        return self.feature_extractor(x)


class TaskAware(MultiTaskModule):  # type: ignore[misc]
    """A task-aware model: it masks the output units of all tasks but the one that is given.

    Args:
        model: the model.
        units: the output units of each task, of shape (task, unit).
    """

    units: Tensor

    def __init__(self, model: SplitModel, units: Tensor) -> None:
        super().__init__()
        self.feature_extractor = model.feature_extractor
        self.classifier = model.classifier
        self.register_buffer("units", units)

    def forward(self, x: Tensor, task_labels: Tensor | int | None) -> Any:
        """The outputs with other tasks' units masked; by task, if no task is given."""
        if task_labels is None:
            return self.forward_all_tasks(x)
        labels = torch.as_tensor(task_labels).expand(len(x))
        outputs = self.classifier(self.feature_extractor(x))
        return outputs.masked_fill(~self.units[labels], MASKED)

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        """The outputs for one task."""
        outputs: Tensor = self.forward(x, task_label)
        return outputs


def _with_features(model: SplitModel) -> Any:
    return FeatureExtractorModel(model.feature_extractor, model.classifier)


def _mean_classifier(model: SplitModel) -> Any:
    return TrainEvalModel(model.feature_extractor, model.classifier, NCMClassifier())


def _covariance_classifier(model: SplitModel) -> Any:
    return TrainEvalModel(model.feature_extractor, model.classifier, FeCAMClassifier())


def _with_projector(model: SplitModel) -> Any:
    return SCRModel(model.feature_extractor, model.classifier)


WRAPPED: dict[str, Callable[[SplitModel], Any]] = {
    "PackNet": PackNetModel,
    "SCR": _with_projector,
    "FeatureDistillationPlugin": _with_features,
    "CurrentDataNCMUpdate": _mean_classifier,
    "MemoryNCMUpdate": _mean_classifier,
    "CurrentDataFeCAMUpdate": _covariance_classifier,
    "MemoryFeCAMUpdate": _covariance_classifier,
}
"""The wrapper around the model, for each strategy that needs one."""
