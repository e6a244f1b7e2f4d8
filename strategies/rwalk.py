"""RWalk: penalise moving parameters that predictions depend on or that lowered past losses."""

from dataclasses import dataclass

import torch
from torch.nn.functional import relu

from retrograde import (
    Count,
    Net,
    NonNegative,
    Params,
    Rate,
    Share,
    State,
    StepData,
    Strategy,
    TaskEnd,
    added,
)

from ._importance import pack, state_penalty_gradient, unpack, zeros_like


@dataclass(frozen=True)
class RWalk(Strategy):
    """Riemannian walk (Chaudhry et al. 2018, arXiv 1801.10112), without its memory.

    F is a running mean of squared gradients (EWC++). Every few steps, a parameter's score grows by
    the decrease of the loss along the parameter's path, divided by half of F times the squared
    distance. After a task, its scores are averaged with those before. The penalty is strength times
    the sum of (F + score) (parameter - its value after the last task)², with F and the scores each
    divided by their largest value.
    """

    lr: Rate = 0.1
    strength: NonNegative = 1.0  # lambda, without a half
    alpha: Share = 0.9  # the share of the newest squared gradient in F
    update_every: Count = 10  # steps between updates of the score; the rest at a task's end is lost
    damping: Rate = 0.001  # epsilon, added to the distance

    def init(self, net: Net, params: Params) -> Params:
        groups = dict.fromkeys(
            ("importance", "fisher", "past_score", "score", "path"), zeros_like(params)
        )
        steps = next(iter(params.values())).new_zeros(())
        return pack(anchor=params, start=params, count={"steps": steps}, **groups)

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming)
        penalty = state_penalty_gradient(state, self.strength)
        after = net.update(state, added(gradient, penalty), self.lr)
        extra = dict(state.extra)
        extra["count.steps"] = extra["count.steps"] + 1
        due = extra["count.steps"] % self.update_every == 0
        for name, value in after.params.items():
            # Minus the gradient times the step approximates the decrease of the loss.
            step = value - state.params[name]
            path = extra[f"path.{name}"] - gradient[name] * step
            square = gradient[name] ** 2
            fisher = self.alpha * square + (1 - self.alpha) * extra[f"fisher.{name}"]
            start = extra[f"start.{name}"]
            score = extra[f"score.{name}"]
            distance = fisher * (value - start) ** 2 / 2 + self.damping
            extra[f"fisher.{name}"] = fisher
            extra[f"score.{name}"] = torch.where(due, score + relu(path) / distance, score)
            extra[f"path.{name}"] = torch.where(due, 0.0, path)
            extra[f"start.{name}"] = torch.where(due, value, start)
        return after.replace(extra=extra)

    def end_task(self, net: Net, state: State, task_end: TaskEnd) -> State:
        fisher = unpack(state.extra, "fisher")
        past_score = unpack(state.extra, "past_score")
        score = unpack(state.extra, "score")
        # The first task has no earlier scores to be averaged with.
        share = torch.where(task_end.examples.task[0] == 0, 1.0, 0.5)
        past_score = {
            name: value + share * (score[name] - value) for name, value in past_score.items()
        }
        importance = added(divided_by_largest(fisher), divided_by_largest(past_score))
        updated = pack(importance=importance, fisher=fisher, past_score=past_score)
        return state.replace(extra=self.init(net, state.params) | updated)


def divided_by_largest(values: Params) -> Params:
    """All values divided by the largest one."""
    maxima = [value.max() for value in values.values()]
    largest = torch.stack(maxima).max()
    return {
        name: value / largest.clamp(min=torch.finfo(value.dtype).tiny)
        for name, value in values.items()
    }
