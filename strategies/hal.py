"""HAL: predictions on anchors, made when a task ends to be what would be forgotten first, are kept."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from retrograde import (
    Arrival,
    Batch,
    Count,
    Finished,
    Net,
    NonNegative,
    Params,
    Rate,
    Share,
    State,
    added,
    mean,
    sgd,
)

from ._distillation import met
from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class HAL(Replay):
    """Hindsight anchor learning (Chaudhry et al. 2021, arXiv 2002.08165, algorithm 1): replay, and an anchor for each class.

    A step on arrivals and memory is tried first; how far it would move the outputs on the anchors is a penalty of the step that
    is taken. A class's anchor is found by gradient descent from noise: training on the memory alone would raise its loss
    (equation 6), and its features are near the running mean of the task's. Anchors are made, not kept: they count among the
    bytes of the state, and not as examples.

    The memory is a reservoir unless `policy` says otherwise. Mammoth keeps the last examples of
    each task in equal shares, for which the number of tasks must be known ahead.
    """

    lr: Rate = 0.1
    strength: NonNegative = 0.1  # lambda, of the mean squared change on the anchors
    decay: Share = 0.5  # beta, of the running mean of the features
    closeness: NonNegative = 0.1  # gamma, of an anchor's squared distance from it
    descents: Count = 100  # steps to an anchor

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        anchors = like.new_zeros(net.tasks, net.outputs, *net.shape)
        centre = torch.zeros_like(net.evaluating().features(params, anchors[0, :1])[0])
        return {
            "anchors": anchors,
            "real": like.new_zeros(net.tasks, net.outputs),
            "centre": centre,
        }

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        anchors, real = state.extra["anchors"].flatten(0, 1), state.extra["real"].flatten()
        gradient = net.grad(state.params, arrival.with_memory)
        foreseen = net.logits(sgd(state.params, gradient, self.lr), anchors)

        def change(params: Params) -> Tensor:
            return self.strength * mean(
                ((net.logits(params, anchors) - foreseen) ** 2).mean(-1), real
            )

        after = net.descend(state, added(gradient, net.grad_by(change, state.params)), self.lr)
        features = net.features(after.params, arrival.new.x)
        now = (features * arrival.new.weight[:, None]).sum(0) / arrival.new.weight.sum().clamp(
            min=1
        )
        centre = self.decay * state.extra["centre"] + (1 - self.decay) * now
        return after.replace(extra=state.extra | {"centre": centre})

    def end_task(self, net: Net, state: State, finished: Finished) -> State:
        task = finished.examples.task.max()
        units = torch.arange(net.outputs, device=task.device)
        real = met(torch.zeros_like(state.extra["real"][0]), finished.examples)
        params, tuned = state.params, self._tuned(net, state.params, finished)

        def cost(anchors: Float[Tensor, "unit *shape"]) -> Float[Tensor, ""]:
            batch = Batch(anchors, units, task.expand(len(units)), real)
            now, then = (
                net.losses_of(net.logits(each, anchors), batch) for each in (params, tuned)
            )
            apart = ((net.features(params, anchors) - state.extra["centre"]) ** 2).sum(-1)
            return torch.where(real > 0, now - then + self.closeness * apart, 0.0).sum()

        anchors = net.chance(net.outputs, *net.shape).to(real.dtype)
        for _ in range(self.descents):
            anchors = anchors - self.lr * grad(cost)(anchors)
        anchors = torch.where(real.reshape(-1, *[1] * len(net.shape)) > 0, anchors, 0.0)
        held = {"anchors": anchors, "real": real}
        held = {
            name: state.extra[name].index_put((task[None],), value[None])
            for name, value in held.items()
        }
        return state.replace(extra=held | {"centre": torch.zeros_like(state.extra["centre"])})

    def _tuned(self, net: Net, params: Params, finished: Finished) -> Params:
        """The parameters after one pass of plain descent over the memory."""
        if finished.memory is None:
            return params
        for start in range(0, len(finished.memory.x), self.draw):
            params = sgd(
                params,
                net.grad(params, finished.memory.at(slice(start, start + self.draw))),
                self.lr,
            )
        return params
