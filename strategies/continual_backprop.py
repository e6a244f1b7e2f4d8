"""Continual backprop: now and then, the least useful hidden unit starts anew."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrograde import Batch, Decay, Limit, Net, Params, Rate, State, StepData, Strategy, UserError

from ._hidden_units import (
    HiddenLayer,
    activations,
    hidden_layers,
    initial_bounds,
    mean_over_examples,
    started_anew,
)

PER_UNIT = ("age", "activation", "utility")


@dataclass(frozen=True)
class ContinualBackprop(Strategy):
    """Continual backprop (Dohare et al. 2024, Nature 632; arXiv 2306.13812).

    After each step, a share `replacement_rate` of the units older than `maturity` is due in each
    hidden layer; fractions add up over steps. The unit of the lowest utility gets new incoming
    weights from the initial distribution, a bias of 0, and outgoing weights of 0. Utility is a
    decaying mean of the activation's size times the mean size of the outgoing weights, with Adam's
    bias correction. With `utility=adaptable` the size is that of the activation's distance from its
    own decaying mean, over the mean size of the incoming weights: the authors' choice for MNIST.

    Details are those of the authors' code (shibhansh/loss-of-plasticity, `lop/algos/gnt.py`, with
    `accumulate`). There, the next layer's bias should make up for the lost mean activation, but
    that mean is cleared first, so that nothing is added, as here. A layer replaces one unit in a
    step at most.
    """

    lr: Rate = 0.1
    replacement_rate: Rate = 1e-4  # units per mature unit and step
    utility: Literal["contribution", "adaptable"] = "contribution"
    utility_decay: Decay = 0.99
    maturity: Limit = 100  # steps for which a new unit is kept

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        layers = hidden_layers(net, params)
        zeros = {layer: torch.zeros_like(params[f"{layer}.weight"][:, 0]) for layer, _ in layers}
        most = max(map(len, zeros.values()))
        if self.replacement_rate * most > 1:
            raise UserError(
                "A hidden layer replaces at most one unit in a step; replacement_rate="
                f"{self.replacement_rate:g} of {most} units is more. Give at most {1 / most:g}."
            )
        of_layer = {
            layer: {"age": zero, "activation": zero, "utility": zero, "due": zero.sum()}
            for layer, zero in zeros.items()
        }
        return {"layers": of_layer, "bounds": initial_bounds(params, layers)}

    def step(self, net: Net, state: State, data: StepData) -> State:
        layers = hidden_layers(net, state.params)
        outputs = activations(state.params, data.incoming, layers)
        state = net.update(state, net.grad(state.params, data.incoming), self.lr)
        # All layers are tested at the parameters after the step, before any unit starts anew.
        trained = state.params
        bounds = state.extra["bounds"]
        of_layer = {}
        replaced = []
        for layer in layers:
            name = layer.name
            before = state.extra["layers"][name]
            tested = self._tested(before, outputs[name], data.incoming, trained, layer)
            chosen = self._chosen(tested)
            drawn = 2 * net.uniform(1, trained[f"{name}.weight"].shape[1], name=name) - 1
            state = started_anew(state, layer, chosen, bounds[name] * drawn)
            cleared = {key: torch.where(chosen, 0.0, tested[key]) for key in PER_UNIT}
            of_layer[name] = cleared | {"due": tested["due"] - chosen.sum()}
            replaced.append(chosen.sum())
        state = state.replace(extra=state.extra | {"layers": of_layer})
        return state.log(replaced=torch.stack(replaced).sum().float())

    def _tested(
        self,
        before: Params,
        outputs: Float[Tensor, "row unit"],
        examples: Batch,
        params: Params,
        layer: HiddenLayer,
    ) -> Params:
        """The age, the activation, the utility and the number due of a layer after one more step.

        Args:
            before: The same after the last step.
            outputs: The activations; 0 for padding.
            examples: The examples.
            params: The parameters after the step.
            layer: The layer.
        """
        decay = self.utility_decay
        age = before["age"] + 1
        mean = mean_over_examples(outputs, examples)
        activation = decay * before["activation"] + (1 - decay) * mean
        worth = params[f"{layer.following}.weight"].abs().mean(0)
        if self.utility == "adaptable":
            is_real = examples.weight[:, None] > 0
            outputs = (outputs - activation / (1 - decay**age)) * is_real
            worth = worth / params[f"{layer.name}.weight"].abs().mean(1)
        size = mean_over_examples(outputs.abs(), examples)
        utility = decay * before["utility"] + (1 - decay) * size * worth
        mature = (age > self.maturity).to(age)
        # A product by unit keeps the precision if the rate is a tensor of a compiled step.
        due = before["due"] + (self.replacement_rate * mature).sum()
        return {"age": age, "activation": activation, "utility": utility, "due": due}

    def _chosen(self, tested: Params) -> Bool[Tensor, " unit"]:
        """True for the unit of a layer that starts anew, if one is due."""
        age = tested["age"]
        corrected = tested["utility"] / (1 - self.utility_decay**age)
        mature = age > self.maturity
        worst = torch.where(mature, corrected, torch.inf).argmin()
        return mature & (torch.arange(len(age), device=age.device) == worst) & (tested["due"] >= 1)
