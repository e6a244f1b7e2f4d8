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
    Count,
    ExperienceEnd,
    FutureFact,
    Net,
    Params,
    Rate,
    Sizes,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    cross_entropies,
    mean,
    seen_classes,
)


@dataclass(frozen=True, kw_only=True)
class GenerativeReplay(Strategy):
    """Deep generative replay (Shin et al. 2017, arXiv 1705.08690), with a variational autoencoder.

    The model (the solver) and the generator learn from incoming images, and from images that the
    generator of the last experience makes and the solver of that time labels. A label is the class
    with the highest output; if the task is given, there is one for each earlier task. As in van de
    Ven's code, the autoencoder (Kingma and Welling 2014, arXiv 1312.6114) has its reconstruction
    error and divergence divided by the number of pixels, and the softmax is over seen classes.
    The generator takes pixels in [0, 1], and cuts others off: leave out `normalise`.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1
    hidden: Sizes = (400, 400)  # hidden units of the encoder; the decoder has them in reverse
    latent: Count = 100  # latent variables

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        return ()  # the outputs of later classes are masked

    def modules(
        self, shape: tuple[int, ...], outputs: int, features: int | None
    ) -> dict[str, nn.Module]:
        pixels = prod(shape)
        encoder = _perceptron((pixels, *self.hidden, 2 * self.latent))
        decoder = _perceptron((self.latent, *reversed(self.hidden), pixels))
        return {"encoder": nn.Sequential(nn.Flatten(), *encoder), "decoder": decoder}

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        no_class = next(iter(params.values())).new_zeros(net.outputs)
        return {"teacher": params | net.buffers, "seen": no_class, "earlier": no_class}

    def step(self, net: Net, state: State, data: StepData) -> State:
        incoming = data.incoming
        extra = state.extra
        seen = seen_classes(extra["seen"], incoming)
        count = len(incoming.x)
        latent = net.normal(count, self.latent, name="latent").to(incoming.x.dtype)
        noise = net.normal(2, count, self.latent, name="noise").to(incoming.x.dtype)
        pixels = net.call("decoder", extra["teacher"], latent).sigmoid()
        past = pixels.reshape(incoming.x.shape)
        labels = net.in_eval_mode().logits(extra["teacher"], past)
        any_past = (net.experience > 0).to(incoming.x.dtype)

        def loss(params: Params) -> Tensor:
            logits = net.logits(params, incoming.x)
            if net.units is None:
                logits = logits.masked_fill(seen == 0, -torch.inf)
            solved = net.loss_from_logits(logits, incoming)
            coded = mean(self._coding(net, params, incoming.x, noise[0]), incoming.weight)
            replayed = self._past_loss(
                net, net.logits(params, past), labels, extra["earlier"], seen
            )
            recoded = self._coding(net, params, past, noise[1]).mean()
            return data.weighted(solved + coded, any_past * (replayed + recoded))

        after = net.update(state, net.grad_of_loss(loss, state.params), self.lr)
        return after.replace(extra=extra | {"seen": seen})

    def _past_loss(
        self, net: Net, logits: Tensor, labels: Tensor, earlier: Tensor, seen: Tensor
    ) -> Float[Tensor, ""]:
        """The loss of the solver on generated images, given the outputs of the past solver."""
        if net.units is None:
            known = labels.masked_fill(earlier == 0, -torch.inf)
            of_seen = logits.masked_fill(seen == 0, -torch.inf)
            return cross_entropies(of_seen, known.argmax(1)).mean()
        losses = []
        for units in net.units:
            known = labels.masked_fill(~units, -torch.inf).argmax(1)
            losses.append(cross_entropies(logits.masked_fill(~units, -torch.inf), known).mean())
        tasks = torch.arange(len(losses), device=logits.device)
        return mean(torch.stack(losses), (tasks < net.experience).to(logits.dtype))

    def _coding(self, net: Net, params: Params, x: Tensor, noise: Tensor) -> Float[Tensor, " row"]:
        """The negative evidence bound of each image, divided by the number of pixels."""
        code = net.call("encoder", params, x)
        centre, log_variance = code.split(self.latent, 1)
        latent = centre + (log_variance / 2).exp() * noise
        decoded = net.call("decoder", params, latent)
        target = x.flatten(1).clamp(0, 1)
        error = binary_cross_entropy_with_logits(decoded, target, reduction="none").mean(1)
        spread = log_variance.exp() + centre**2 - 1 - log_variance
        return error + spread.sum(1) / 2 / target.shape[1]

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        seen = state.extra["seen"]
        return state.replace(extra={"teacher": state.model, "seen": seen, "earlier": seen})


def _perceptron(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, units in pairwise(sizes):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
