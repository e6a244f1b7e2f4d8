"""HAL: replay, and a penalty that keeps the predictions on learned anchor inputs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, vmap

from retrograde import (
    Batch,
    Boundaries,
    Count,
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    Replay,
    Share,
    State,
    StepData,
    added,
    mean,
    seen_classes,
    sgd,
)


@dataclass(frozen=True, kw_only=True)
class HAL(Replay):
    """Hindsight anchor learning (Chaudhry et al. 2021, arXiv 2002.08165, algorithm 1).

    Replay with one anchor input for each class and task. Each step first tries an SGD step on the
    combined batch; the change of the outputs on the anchors that this step would cause is penalised
    in the step that is taken.

    A class's anchor is found by gradient descent from noise when the task ends. Training on the
    memory alone would raise the anchor's loss (equation 6), and its features are near the running
    mean of the task's features. Anchors are no stored examples: they count as bytes of the state.

    The memory is a reservoir unless `policy` says otherwise. Mammoth keeps the last examples of
    each task in equal shares, for which the number of tasks must be known ahead.
    """

    classes_only: ClassVar[bool] = True
    boundaries: ClassVar[Boundaries | None] = "tasks"

    lr: Rate = 0.1
    strength: NonNegative = 0.1  # lambda, the weight of the mean squared change on the anchors
    decay: Share = 0.5  # beta, of the running mean of the features
    closeness: NonNegative = 0.1  # gamma, the weight of an anchor's squared distance from it
    anchor_steps: Count = 100  # steps to an anchor

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        anchors = like.new_zeros(net.tasks, net.outputs, *net.shape)
        # In evaluation mode, since batch normalisation refuses a single row in training.
        features = net.in_eval_mode().features(params, anchors[0, :1])
        return {
            "anchors": anchors,
            "has_anchor": like.new_zeros(net.tasks, net.outputs),
            "mean_feature": torch.zeros_like(features[0]),
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        anchors = state.extra["anchors"].flatten(0, 1)
        has_anchor = state.extra["has_anchor"].flatten()
        gradient = net.grad(state.params, data.combined)
        tentative = sgd(state.params, gradient, net.scheduled(self.lr))
        target = net.logits(tentative, anchors)

        def anchor_loss(params: Params) -> Tensor:
            change = net.logits(params, anchors) - target
            return self.strength * mean((change**2).mean(-1), has_anchor)

        # Anchors are no examples, so running statistics do not follow them.
        penalty = net.without_statistics().grad_of_loss(anchor_loss, state.params)
        after = net.update(state, added(gradient, penalty), self.lr)
        features = net.features(after.params, data.incoming.x)
        batch_mean = vmap(mean, in_dims=(1, None))(features, data.incoming.weight)
        mean_feature = self.decay * state.extra["mean_feature"] + (1 - self.decay) * batch_mean
        return after.replace(extra=state.extra | {"mean_feature": mean_feature})

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        extra = state.extra
        here = net.experience[None]
        classes = seen_classes(torch.zeros_like(extra["has_anchor"][0]), end.examples)
        anchors = self._anchors(net, state, end, classes)
        after = {
            "anchors": extra["anchors"].index_copy(0, here, anchors[None]),
            "has_anchor": extra["has_anchor"].index_copy(0, here, classes[None]),
            "mean_feature": torch.zeros_like(extra["mean_feature"]),
        }
        return state.replace(extra=after)

    def _anchors(
        self, net: Net, state: State, end: ExperienceEnd, classes: Float[Tensor, " unit"]
    ) -> Float[Tensor, "unit *shape"]:
        """The anchors of a finished task; 0 for units that are not among its classes."""
        params = state.params
        tuned = self._tuned(net, params, end)
        task = end.examples.task[0]
        units = torch.arange(net.outputs, device=task.device)

        def cost(anchors: Float[Tensor, "unit *shape"]) -> Float[Tensor, ""]:
            batch = Batch(anchors, units, task.expand(len(units)), classes)
            before = net.row_losses(net.logits(params, anchors), batch)
            after = net.row_losses(net.logits(tuned, anchors), batch)
            gaps = net.features(params, anchors) - state.extra["mean_feature"]
            # Low for inputs whose loss training on the memory would raise (equation 6).
            costs = before - after + self.closeness * (gaps**2).sum(-1)
            return torch.where(classes > 0, costs, 0.0).sum()

        anchors = net.uniform(net.outputs, *net.shape).to(classes.dtype)
        for _ in range(self.anchor_steps):
            anchors = anchors - self.lr * grad(cost)(anchors)
        mask = classes.reshape(-1, *[1] * len(net.shape))
        return torch.where(mask > 0, anchors, 0.0)

    def _tuned(self, net: Net, params: Params, end: ExperienceEnd) -> Params:
        """The parameters after one pass of plain SGD over the memory."""
        if end.memory is None:
            return params
        for start in range(0, len(end.memory.x), self.replay_batch):
            batch = end.memory.at(slice(start, start + self.replay_batch))
            params = sgd(params, net.grad(params, batch), self.lr)
        return params
