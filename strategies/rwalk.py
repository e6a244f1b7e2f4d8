"""RWalk: penalise moving parameters that predictions depend on or that lowered past losses."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import relu

from retrograde import (
    Count,
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    Share,
    State,
    StepData,
    Strategy,
    added,
    anchored_penalty_gradient,
    zeros_like,
)


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

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        zeros = zeros_like(params)
        walk = {"fisher": zeros, "score": zeros, "path": zeros, "start": params}
        steps = next(iter(params.values())).new_zeros(())
        past = {"anchor": params, "importance": zeros, "past_score": zeros}
        return {"steps": steps, "walk": walk, **past}

    def step(self, net: Net, state: State, data: StepData) -> State:
        gradient = net.grad(state.params, data.incoming)
        penalty = anchored_penalty_gradient(state, self.strength)
        after = net.update(state, added(gradient, penalty), self.lr)
        steps = state.extra["steps"] + 1
        due = steps % self.update_every == 0
        walk = state.extra["walk"]
        walked: dict[str, Params] = {name: {} for name in walk}
        for name, value in after.params.items():
            # Minus the gradient times the step approximates the decrease of the loss.
            path = walk["path"][name] - gradient[name] * (value - state.params[name])
            square = gradient[name] ** 2
            fisher = self.alpha * square + (1 - self.alpha) * walk["fisher"][name]
            start = walk["start"][name]
            score = walk["score"][name]
            distance = fisher * (value - start) ** 2 / 2 + self.damping
            walked["fisher"][name] = fisher
            walked["score"][name] = torch.where(due, score + relu(path) / distance, score)
            walked["path"][name] = torch.where(due, 0.0, path)
            walked["start"][name] = torch.where(due, value, start)
        return after.replace(extra=state.extra | {"steps": steps, "walk": walked})

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        walk = state.extra["walk"]
        # The first task has no earlier scores to be averaged with.
        share = torch.where(net.experience == 0, 1.0, 0.5)
        past_score = {
            name: value + share * (walk["score"][name] - value)
            for name, value in state.extra["past_score"].items()
        }
        fisher = walk["fisher"]
        importance = added(divided_by_largest(fisher), divided_by_largest(past_score))
        extra = self.init(net, state.params)
        extra["walk"] = extra["walk"] | {"fisher": fisher}
        return state.replace(extra=extra | {"importance": importance, "past_score": past_score})


def divided_by_largest(values: Params) -> Params:
    """All values divided by the largest one."""
    maxima = [value.max() for value in values.values()]
    largest = torch.stack(maxima).max()
    return {
        name: value / largest.clamp(min=torch.finfo(value.dtype).tiny)
        for name, value in values.items()
    }
