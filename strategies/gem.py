"""GEM: steps that go against the gradient of no earlier task."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from retrograde import (
    Batch,
    Boundaries,
    Count,
    Memory,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    StepData,
    Strategy,
    TaskRing,
    TaskWeighting,
)

from ._quadratic import solve_qp


@dataclass(frozen=True)
class GEM(Strategy):
    """Gradient episodic memory (Lopez-Paz and Ranzato 2017, arXiv 1706.08840, algorithm 1).

    Each step computes the gradient of every earlier task on all of its memory. If the gradient on
    incoming examples goes against one of them, the step follows the nearest gradient that goes
    against none (equation 11). `margin` and `ridge` are the authors'. Tasks share the memory
    equally, so the number of tasks of the whole stream must be known ahead.
    """

    # Gradients on replayed examples constrain the step; their losses are not minimised.
    task_weighting: ClassVar[TaskWeighting | None] = "not needed"
    # The last task's memory constrains no step, and a task that comes back would be an earlier one.
    boundaries: ClassVar[Boundaries | None] = "tasks"

    lr: Rate = 0.1
    buffer_size: Count = 200  # examples kept, in equal shares of the tasks
    # The smallest multiple of each earlier gradient that is added, which favours earlier tasks.
    margin: NonNegative = 0.5
    ridge: Rate = 1e-3  # on the diagonal of the gradients' inner products

    def memory(self) -> Memory:
        return TaskRing(self.buffer_size, self.buffer_size, at_end=True)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming)
        earlier = net.grad_each(state.params, self._stack_by_task(net, data.replayed))
        return net.update(state, self.project(gradient, earlier), self.lr)

    def _stack_by_task(self, net: Net, replayed: Batch) -> Batch:
        """The memory as one batch for each earlier task, stacked."""
        share = self.buffer_size // net.tasks
        # The last task's share is never replayed.
        earlier = max(1, net.tasks - 1)
        used = replayed.at(slice(share * earlier))
        return used.map(lambda column: column.reshape(earlier, share, *column.shape[1:]))

    def project(self, gradient: Params, earlier: Params) -> Params:
        """Add to the gradient the multiple of each earlier one that solves the dual problem.

        The gradient is unchanged if it goes against no earlier one. An earlier gradient of 0 adds
        nothing.

        Args:
            gradient: the gradient on incoming examples.
            earlier: the gradients of earlier tasks, stacked along the first axis.
        """
        # Double precision: nearly parallel gradients make the matrix nearly singular.
        rows = {name: value.double().flatten(1) for name, value in earlier.items()}
        flat = {name: gradient[name].double().flatten() for name in rows}
        products = [value @ flat[name] for name, value in rows.items()]
        inner = torch.stack(products).sum(0)
        squares = [value @ value.T for value in rows.values()]
        gram = torch.stack(squares).sum(0)
        unit = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        solution = solve_qp(gram + self.ridge * unit, inner, self.margin)
        dual = torch.where((inner < 0).any(), solution, 0.0)
        return {
            name: value + torch.tensordot(dual.to(value.dtype), earlier[name], 1)
            for name, value in gradient.items()
        }
