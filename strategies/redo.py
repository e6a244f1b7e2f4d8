"""ReDo: hidden units that are hardly active start anew."""

from dataclasses import dataclass
from typing import Any

import torch

from retrograde import Count, Net, NonNegative, Params, Rate, State, StepData, Strategy

from ._hidden_units import activations, hidden_layers, initial_bounds, started_anew


@dataclass(frozen=True)
class ReDo(Strategy):
    """Recycling dormant neurons (Sokar et al. 2023, arXiv 2302.12902, definition 3.1).

    The score of a unit is the mean size of its activation over that of its hidden layer. Every
    `period` steps, units whose score is at most `threshold` get new incoming weights from the
    initial distribution, a bias of 0, and outgoing weights of 0. The mean is over the incoming
    examples of the period; the paper takes a mini-batch of its replay memory.
    """

    lr: Rate = 0.1
    threshold: NonNegative = 0.1  # tau
    period: Count = 1000  # steps

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        layers = hidden_layers(net, params)
        zeros = {layer: torch.zeros_like(params[f"{layer}.weight"][:, 0]) for layer, _ in layers}
        first = next(iter(zeros.values()))
        return {"bounds": initial_bounds(params, layers), "sum": zeros, "steps": first.sum()}

    def step(self, net: Net, state: State, data: StepData) -> State:
        layers = hidden_layers(net, state.params)
        outputs = activations(state.params, data.incoming, layers)
        state = net.update(state, net.grad(state.params, data.incoming), self.lr)
        steps = state.extra["steps"] + 1
        is_due = steps >= self.period
        sums = {}
        recycled = []
        for layer in layers:
            # The score is a ratio, which a sum gives as a mean does.
            total = state.extra["sum"][layer.name] + outputs[layer.name].abs().sum(0)
            # Without a division, a layer that is silent altogether is dormant.
            chosen = is_due & (total <= self.threshold * total.mean())
            shape = state.params[f"{layer.name}.weight"].shape
            drawn = 2 * net.uniform(*shape, name=layer.name).to(total) - 1
            weights = state.extra["bounds"][layer.name] * drawn
            state = started_anew(state, layer, chosen, weights)
            sums[layer.name] = torch.where(is_due, 0.0, total)
            recycled.append(chosen.sum())
        extra = state.extra | {"sum": sums, "steps": torch.where(is_due, 0.0, steps)}
        return state.replace(extra=extra).log(recycled=torch.stack(recycled).sum().to(steps))
