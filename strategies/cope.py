"""CoPE: prototypes that evolve with every step, and an embedding that gathers around them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from retrograde import (
    Batch,
    Count,
    Decay,
    Net,
    Params,
    Policy,
    Rate,
    Replay,
    State,
    StepData,
    TaskWeighting,
    UserError,
    class_means,
    class_members,
    seen_classes,
)


@dataclass(frozen=True, kw_only=True)
class CoPE(Replay):
    """Continual prototype evolution (De Lange and Tuytelaars 2021, arXiv 2009.00919).

    A linear layer on the features gives embeddings of norm 1. The pseudo-prototypical proxy loss
    draws those of a class to its prototype and to each other, and pushes other classes' away. After
    a step, the prototype of each class in the batch moves towards the mean of the embeddings that
    the step was taken on. The nearest prototype answers. As in the authors' code, a prototype
    starts at random, among vectors of positive entries. There, examples are drawn evenly from the
    classes in memory; here, from the whole memory, which is balanced.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "refused"  # one loss over all examples
    probes: ClassVar[bool] = False  # the prototypes answer, not the head
    later_classes_in_loss: ClassVar[bool] = False  # it is on embeddings

    lr: Rate = 0.01
    policy: Policy = "balanced"
    embedding: Count = 100  # numbers of an embedding
    temperature: Rate = 0.1
    momentum: Decay = 0.99  # the share of a prototype that stays in a step

    def modules(
        self, shape: tuple[int, ...], outputs: int, features: int | None
    ) -> dict[str, nn.Module]:
        if features is None:
            raise UserError("CoPE needs a model with a module named head. Choose another model.")
        return {"embed": nn.Linear(features, self.embedding)}

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        prototypes = normalize(net.uniform(net.outputs, self.embedding).to(params["embed.weight"]))
        return {"prototypes": prototypes, "seen": torch.zeros_like(prototypes[:, 0])}

    def step(self, net: Net, state: State, data: StepData) -> State:
        batch = data.combined
        prototypes = state.extra["prototypes"]
        seen = seen_classes(state.extra["seen"], batch)

        def loss(params: Params) -> tuple[Tensor, Tensor]:
            embeddings = self._embeddings(net, params, batch.x)
            return proxy_loss(embeddings, batch, prototypes, seen, self.temperature), embeddings

        gradient, embeddings = net.grad_and_aux(loss, state.params)
        members = class_members(batch, net.outputs)
        means = class_means(embeddings, members)
        moved = normalize(self.momentum * prototypes + (1 - self.momentum) * means)
        prototypes = torch.where(members.any(0)[:, None], moved, prototypes)
        after = net.update(state, gradient, self.lr)
        return after.replace(extra={"prototypes": prototypes, "seen": seen})

    def _embeddings(self, net: Net, params: Params, x: Tensor) -> Float[Tensor, "row feature"]:
        return normalize(net.call("embed", params, net.features(params, x)))

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        scores = self._embeddings(net, state.params, x) @ state.extra["prototypes"].T
        return torch.where(state.extra["seen"] > 0, scores, -torch.inf)


def proxy_loss(
    embeddings: Float[Tensor, "row feature"],
    batch: Batch,
    prototypes: Float[Tensor, "unit feature"],
    seen: Float[Tensor, " unit"],
    temperature: float | Tensor,
) -> Float[Tensor, ""]:
    """The pseudo-prototypical proxy loss of embeddings of norm 1, divided by the number of rows."""
    real = batch.weight > 0
    # Classes without a prototype do not count; if all rows are padding, that would divide 0 by 0.
    seen = torch.where(real.any(), seen, 1.0)

    def near(others: Tensor) -> Tensor:
        # Less the largest inner product, 1: only ratios count, and none overflows.
        return ((embeddings @ others.T - 1) / temperature).exp()

    # The nearness of each row to each prototype, and to the prototypes of all other classes.
    to_class = near(prototypes) * seen
    away = to_class @ (1 - torch.eye(len(prototypes)).to(embeddings))

    # Attraction to the prototype of the own class and, as constants, to the class's other rows.
    own = batch.y[:, None]
    others = (own == batch.y) & real & ~torch.eye(len(real), dtype=torch.bool, device=real.device)
    to_own = to_class.gather(1, own)
    away_from_own = away.gather(1, own)
    pseudo = near(embeddings.detach())
    to_others = (pseudo / (pseudo + away_from_own) * others).sum(1, keepdim=True)
    mean_share = (to_own / (to_own + away_from_own) + to_others) / (1 + others.sum(1, keepdim=True))
    attraction = torch.where(real[:, None], mean_share, 1.0).log()

    # Repulsion from rows of other classes and their prototypes: 1 - p, not rounded if p is near 1.
    away = away[:, batch.y]
    rest = (away / (near(embeddings) + away) + away / (to_class[:, batch.y] + away)) / 2
    different = (own != batch.y) & real & real[:, None]
    repulsion = torch.where(different, rest, 1.0).log().sum(1, keepdim=True)
    return -(attraction + repulsion).sum() / real.sum().clamp(min=1)
