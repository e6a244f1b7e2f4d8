"""Deep generative replay: a generator of past examples, which a past network labels."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from retrograde import (
    Boundaries,
    Count,
    ExperienceEnd,
    Net,
    Params,
    Rate,
    Sizes,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    UserError,
    cross_entropies,
    mean,
)


@dataclass(frozen=True, kw_only=True)
class GenerativeReplay(Strategy):
    """Deep generative replay (Shin et al. 2017, arXiv 1705.08690), with a variational autoencoder.

    The model (the solver) and the generator learn from incoming images, and from as many that the
    generator of the last experience makes and the solver of that time labels. A label is the class
    with the highest output; if the task is given, there is one for each earlier task, and the mean
    of their losses counts. As in the code of van de Ven et al. (2022, Nature Machine Intelligence
    4), no unit is masked otherwise, and the autoencoder (Kingma and Welling 2014, arXiv 1312.6114)
    has its reconstruction error and divergence divided by the number of pixels. There, the log
    variances have no biases. The generator takes pixels in [0, 1], and cuts others off: leave out
    `normalise`.
    """

    classes_only: ClassVar[bool] = True
    task_weighting: ClassVar[TaskWeighting | None] = "applied"
    boundaries: ClassVar[Boundaries | None] = "tasks"

    lr: Rate = 0.1
    hidden: Sizes = (400, 400)  # hidden units of the encoder; the decoder has them in reverse
    latent: Count = 100  # latent variables

    def modules(
        self, shape: tuple[int, ...], outputs: int, features: int | None
    ) -> dict[str, nn.Module]:
        pixels = prod(shape)
        encoder = _perceptron((pixels, *self.hidden, 2 * self.latent))
        decoder = _perceptron((self.latent, *reversed(self.hidden), pixels))
        return {"encoder": nn.Sequential(nn.Flatten(), *encoder), "decoder": decoder}

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        if net.normalised:
            raise UserError(
                "The generator makes pixels in [0, 1]; the benchmark normalises them. "
                "Leave out normalise=channels."
            )
        return {"past": params | net.buffers}

    def step(self, net: Net, state: State, data: StepData) -> State:
        incoming = data.incoming
        past = state.extra["past"]
        count = len(incoming.x)
        latent = net.normal(count, self.latent, name="latent").to(incoming.x.dtype)
        noise = net.normal(2, count, self.latent, name="noise").to(incoming.x.dtype)
        pixels = net.call("decoder", past, latent).sigmoid()
        any_past = net.experience > 0
        # In the first experience there is no past, and running statistics must not follow noise.
        generated = torch.where(any_past, pixels.reshape(incoming.x.shape), incoming.x)
        scores = net.in_eval_mode().logits(past, generated)

        def loss(params: Params) -> Tensor:
            solved = net.loss(params, incoming)
            coded = mean(self._coding(net, params, incoming.x, noise[0]), incoming.weight)
            replayed = _replayed_loss(net, net.logits(params, generated), scores)
            recoded = self._coding(net, params, generated, noise[1]).mean()
            return data.weighted(solved + coded, any_past * (replayed + recoded))

        return net.update(state, net.grad_of_loss(loss, state.params), self.lr)

    def _coding(self, net: Net, params: Params, x: Tensor, noise: Tensor) -> Float[Tensor, " row"]:
        """The negative evidence bound of each image, divided by the number of pixels."""
        code = net.call("encoder", params, x)
        centre, log_variance = code.chunk(2, 1)
        latent = centre + (log_variance / 2).exp() * noise
        decoded = net.call("decoder", params, latent)
        target = x.flatten(1).clamp(0, 1)
        error: Tensor = binary_cross_entropy_with_logits(decoded, target, reduction="none")
        spread = log_variance.exp() + centre**2 - 1 - log_variance
        bound: Tensor = error.mean(1) + spread.sum(1) / 2 / target.shape[1]
        return bound

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        return state.replace(extra={"past": state.model})


def _replayed_loss(
    net: Net, logits: Float[Tensor, "row unit"], scores: Float[Tensor, "row unit"]
) -> Float[Tensor, ""]:
    """The loss of the solver on generated images, given the outputs of the past solver."""
    if net.units is None:
        return cross_entropies(logits, scores.argmax(1)).mean()
    losses = []
    for units in net.units:
        labels = scores.masked_fill(~units, -torch.inf).argmax(1)
        losses.append(cross_entropies(logits.masked_fill(~units, -torch.inf), labels).mean())
    tasks = torch.arange(len(losses), device=logits.device)
    return mean(torch.stack(losses), (tasks < net.experience).to(logits.dtype))


def _perceptron(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, units in pairwise(sizes):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
