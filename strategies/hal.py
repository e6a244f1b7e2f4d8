"""HAL: replay, and a penalty that keeps the predictions on learned anchor inputs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from retrograde import (
    Batch,
    Count,
    Net,
    NonNegative,
    Params,
    Rate,
    Share,
    State,
    StepData,
    TaskEnd,
    added,
    mean,
    sgd,
)

from ._distillation import seen_classes
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class HAL(Replay):
    """Hindsight anchor learning (Chaudhry et al. 2021, arXiv 2002.08165, algorithm 1).

    This is replay with one anchor input for each class. A step on incoming and replayed examples is
    tried first; the change of the outputs on the anchors that it would cause is a penalty of the
    step that is taken.

    A class's anchor is found by gradient descent from noise when the task ends. Training on the
    memory alone would raise the anchor's loss (equation 6), and its features are near the running
    mean of the task's features. Anchors are made, not kept: they count among the bytes of the
    state, and not as examples.

    The memory is a reservoir unless `policy` says otherwise. Mammoth keeps the last examples of
    each task in equal shares, for which the number of tasks must be known ahead.
    """

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
            "real": like.new_zeros(net.tasks, net.outputs),
            "centre": torch.zeros_like(features[0]),
        }

    def step(self, net: Net, state: State, data: StepData) -> State:
        anchors = state.extra["anchors"].flatten(0, 1)
        real = state.extra["real"].flatten()
        gradient = net.grad(state.params, data.combined)
        tried = sgd(state.params, gradient, self.lr)
        foreseen = net.logits(tried, anchors)

        def change(params: Params) -> Tensor:
            gaps = net.logits(params, anchors) - foreseen
            return self.strength * mean((gaps**2).mean(-1), real)

        penalty = net.grad_of_loss(change, state.params)
        total = added(gradient, penalty)
        after = net.update(state, total, self.lr)
        centre = self._centre(net, after.params, state.extra["centre"], data.incoming)
        return after.replace(extra=state.extra | {"centre": centre})

    def _centre(
        self, net: Net, params: Params, before: Float[Tensor, " feature"], new: Batch
    ) -> Float[Tensor, " feature"]:
        """The running mean of the features, after the incoming examples."""
        features = net.features(params, new.x)
        total = (features * new.weight[:, None]).sum(0)
        count = new.weight.sum().clamp(min=1)
        now = total / count
        return self.decay * before + (1 - self.decay) * now

    def end_task(self, net: Net, state: State, task_end: TaskEnd) -> State:
        task = task_end.examples.task.max()
        none = torch.zeros_like(state.extra["real"][0])
        real = seen_classes(none, task_end.examples)
        anchors = self._anchors(net, state, task_end, task, real)
        made = {"anchors": anchors, "real": real}
        held = {
            name: state.extra[name].index_put((task[None],), value[None])
            for name, value in made.items()
        }
        centre = torch.zeros_like(state.extra["centre"])
        return state.replace(extra=held | {"centre": centre})

    def _anchors(
        self,
        net: Net,
        state: State,
        task_end: TaskEnd,
        task: Tensor,
        real: Float[Tensor, " unit"],
    ) -> Float[Tensor, "unit *shape"]:
        """The anchors of a finished task; 0 for units without examples, which are not `real`."""
        params = state.params
        tuned = self._tuned(net, params, task_end)
        units = torch.arange(net.outputs, device=task.device)

        def cost(anchors: Float[Tensor, "unit *shape"]) -> Float[Tensor, ""]:
            batch = Batch(anchors, units, task.expand(len(units)), real)
            now = net.row_losses(net.logits(params, anchors), batch)
            then = net.row_losses(net.logits(tuned, anchors), batch)
            gaps = net.features(params, anchors) - state.extra["centre"]
            apart = (gaps**2).sum(-1)
            # Low for inputs whose loss training on the memory would raise (equation 6).
            costs = now - then + self.closeness * apart
            return torch.where(real > 0, costs, 0.0).sum()

        anchors = net.uniform(net.outputs, *net.shape).to(real.dtype)
        for _ in range(self.anchor_steps):
            anchors = anchors - self.lr * grad(cost)(anchors)
        wide = real.reshape(-1, *[1] * len(net.shape))
        return torch.where(wide > 0, anchors, 0.0)

    def _tuned(self, net: Net, params: Params, task_end: TaskEnd) -> Params:
        """The parameters after one pass of plain SGD over the memory."""
        if task_end.memory is None:
            return params
        for start in range(0, len(task_end.memory.x), self.replay_batch):
            batch = task_end.memory.at(slice(start, start + self.replay_batch))
            params = sgd(params, net.grad(params, batch), self.lr)
        return params
