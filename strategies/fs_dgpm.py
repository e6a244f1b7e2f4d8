"""FS-DGPM: steps to flat minima that avoid past inputs, as far as is learned."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde import (
    Bound,
    Count,
    ExperienceEnd,
    Memory,
    Net,
    NonNegative,
    Params,
    Rate,
    Reservoir,
    Share,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    clipped,
    layer_inputs,
    sgd,
    shuffled_rows,
)

from ._input_space import empty_space, main_directions, within


@dataclass(frozen=True)
class FSDGPM(Strategy):
    """Flattening sharpness for dynamic GPM (Deng et al. 2021, arXiv 2110.04593).

    A step is along the gradient at parameters that ascent on incoming examples has worsened. In
    later tasks the ascent stays in the main directions of the layers' inputs for examples in
    memory, and the step avoids them; each direction has an importance, which is learned too.

    Details are those of the authors' code (danruod/FS-DGPM, method xdgpm): ascent is along the
    gradient clamped by value, the loss is the mean over its points, and a sigmoid follows each step
    of the importances. There, the optimiser keeps the importances that a task began with, so that
    only its first step learns; here every step does, without momentum. A bias is the weight of an
    input that is always 1. If the task is given, the head is free.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1  # the learning rate; 0.01 in the authors' code
    ascent_lr: Rate = 0.05  # eta_1
    importance_lr: Rate = 0.01  # eta_2
    ascent_steps: Count = 2  # parts of the incoming batch, one after the other
    temperature: Rate = 10.0  # the factor before the sigmoid
    clip: Bound = 2.0  # the largest norm of gradients, and entry of the ascent
    first_order: bool = True  # True: the gradients of the ascent are constants
    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples replayed per step
    # The share of the inputs' squared length that the space holds. With the authors' 0.99, later
    # tasks of class-incremental digits are not learned.
    threshold: Share = 0.9
    growth: NonNegative = 0.0005  # added to the threshold after each task
    examples: Count = 300  # of the memory, whose layer inputs are taken

    def memory(self) -> Memory:
        return Reservoir(self.buffer_size, self.replay_batch)

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        # A direction is a column; there is one for each input, so that no shape changes later.
        return of_importance_1(empty_space(net, params))

    def step(self, net: Net, state: State, data: StepData) -> State:
        # The compiler reads annotations, and knows no dictionaries of dictionaries.
        def loss(learned: Any) -> Tensor:
            return self._flat_loss(net, learned["params"], learned["importance"], space, data)

        space, before = state.extra["space"], state.extra["importance"]
        gradients = net.grad_of_loss(loss, {"params": state.params, "importance": before})
        stepped = sgd(before, clipped(gradients["importance"], self.clip), self.importance_lr)
        importance = {
            layer: (self.temperature * value).sigmoid() for layer, value in stepped.items()
        }
        gradient = clipped(gradients["params"], self.clip)
        inside = within(space, importance, gradient)
        outside = {name: value - inside.get(name, 0.0) for name, value in gradient.items()}
        extra = state.extra | {"importance": importance}
        return net.update(state.replace(extra=extra), outside, self.lr)

    def _flat_loss(
        self, net: Net, params: Params, importance: Params, space: Params, data: StepData
    ) -> Float[Tensor, ""]:
        """The mean loss on all examples after each step of the ascent on incoming ones."""
        size = -(-len(data.incoming.x) // self.ascent_steps)
        losses, weights = [], []
        for first in range(0, len(data.incoming.x), size):
            part = data.incoming.at(slice(first, first + size))
            gradient = net.grad(params, part, constant=self.first_order)
            inside = within(space, importance, gradient)
            for name, value in gradient.items():
                # The first task has no space to stay in.
                ascent = torch.where(net.experience == 0, value, inside.get(name, value))
                if self.clip:
                    ascent = ascent.clamp(-self.clip, self.clip)
                params = params | {name: params[name] + self.ascent_lr * ascent}
            losses.append(net.loss(params, data.combined))
            # 0 if the part is padding alone.
            weights.append(part.weight.amax())
        counts = torch.stack(weights)
        return (torch.stack(losses) * counts).sum() / counts.sum().clamp(min=1)

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        memory = end.memory or end.examples
        order = shuffled_rows(net.uniform(len(memory.x)), memory.weight)
        inputs = layer_inputs(net, state.params, memory.at(order[: self.examples]))
        threshold = (self.threshold + self.growth * net.experience).clamp(max=1)
        space = {}
        for layer in state.extra["space"]:
            total = inputs[layer].square().sum()
            directions, chosen = main_directions(inputs[layer], total, threshold)
            space[layer] = directions * chosen
        return state.replace(extra=of_importance_1(space))


def of_importance_1(space: Params) -> dict[str, Params]:
    """The directions of each layer, all of importance 1."""
    ones = {layer: torch.ones_like(directions[0]) for layer, directions in space.items()}
    return {"space": space, "importance": ones}
