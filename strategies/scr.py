"""SCR: replay with a contrastive loss, and a nearest-mean classifier on the memory."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from retrograde import (
    Batch,
    Count,
    Net,
    Params,
    Rate,
    Replay,
    State,
    StepData,
    TaskWeighting,
    UserError,
    class_means,
    class_members,
    contrastive_loss,
)


@dataclass(frozen=True, kw_only=True)
class SCR(Replay):
    """Supervised contrastive replay (Mai et al. 2021, arXiv 2103.13885).

    Incoming and replayed examples, in two augmented views, are pulled together by class and apart
    otherwise, behind a projector that predictions do not use. The class whose mean feature over the
    memory is nearest is the answer; means and features have norm 1. The authors' first view is the
    image as it is, their first step waits for examples in memory, and a class without any gets a
    random mean; here, the benchmark's `augment` changes both views, the first step is taken, and
    such a class comes last.
    """

    classes_only: ClassVar[bool] = True
    task_weighting: ClassVar[TaskWeighting | None] = "refused"  # one loss over all examples
    views: ClassVar[int] = 2
    probes: ClassVar[bool] = False  # the nearest mean answers, not the head
    later_classes_in_loss: ClassVar[bool] = False  # it is on embeddings

    lr: Rate = 0.1
    replay_batch: Count = 100  # examples drawn per step
    temperature: Rate = 0.07
    projection: Count = 128  # the number of the projector's outputs

    def modules(
        self, shape: tuple[int, ...], outputs: int, features: int | None
    ) -> dict[str, nn.Module]:
        if features is None:
            raise UserError("SCR needs features; the model has no module named head.")
        hidden = nn.Linear(features, features)
        return {"projector": nn.Sequential(hidden, nn.ReLU(), nn.Linear(features, self.projection))}

    def step(self, net: Net, state: State, data: StepData) -> State:
        batch = data.combined

        def loss(params: Params) -> Tensor:
            images = (batch.x, *data.other_views)
            views = [self._projected(net, params, x) for x in images]
            return contrastive_loss(torch.stack(views), batch.y, batch.weight, self.temperature)

        return net.update(state, net.grad_of_loss(loss, state.params), self.lr)

    def _projected(self, net: Net, params: Params, x: Tensor) -> Float[Tensor, "row feature"]:
        return normalize(net.call("projector", params, net.features(params, x)))

    def before_evaluation(self, net: Net, state: State, memory: Batch | None) -> State:
        if memory is None:
            return state
        features = normalize(net.features(state.params, memory.x))
        members = class_members(memory, net.outputs)
        means = normalize(class_means(features, members))
        return state.replace(extra={"means": means, "known": members.any(0)})

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        features = normalize(net.features(state.params, x))
        distance = torch.cdist(features, state.extra["means"])
        # No two vectors of norm 1 are further apart than 2: classes without examples come last.
        return torch.where(state.extra["known"], -distance, -3.0)
