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
    FutureFact,
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

    lr: Rate = 0.01
    policy: Policy = "balanced"
    embedding: Count = 100  # numbers of an embedding
    temperature: Rate = 0.1
    momentum: Decay = 0.99  # the share of a prototype that stays in a step

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        # The model's outputs are in no loss.
        return tuple(fact for fact in super().knows_ahead() if fact != "classes")

    def modules(
        self, shape: tuple[int, ...], outputs: int, features: int | None
    ) -> dict[str, nn.Module]:
        if features is None:
            raise UserError(
                "CoPE needs features; the model has no module named head. Choose another model."
            )
        return {"embed": nn.Linear(features, self.embedding)}

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        like = next(iter(params.values()))
        prototypes = normalize(net.uniform(net.outputs, self.embedding).to(like))
        return {"prototypes": prototypes, "seen": like.new_zeros(net.outputs)}

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
    temperature: float,
) -> Float[Tensor, ""]:
    """The pseudo-prototypical proxy loss, divided by the number of rows.

    Args:
        embeddings: Embeddings of norm 1.
        batch: The examples; padding does not count.
        prototypes: The prototype of each class.
        seen: 1 for the classes that have a prototype, else 0.
        temperature: The divisor of inner products.
    """
    real = batch.weight > 0
    # Before the first example no class counts, and padding would divide 0 by 0.
    seen = torch.where(real.any(), seen, 1.0)

    def near(inner: Tensor) -> Tensor:
        # Less the largest inner product, 1: only ratios count, and none overflows.
        return ((inner - 1) / temperature).exp()

    # Near to a class: exp(inner product / temperature); first to prototypes, then to examples.
    to_prototypes = near(embeddings @ prototypes.T) * seen
    units = torch.arange(len(prototypes), device=batch.y.device)
    own_class = (batch.y[:, None] == units).to(embeddings.dtype)
    # For each example and class: the nearness to the prototypes of all other classes.
    other_units = 1 - torch.eye(len(prototypes), dtype=embeddings.dtype, device=real.device)
    to_others = to_prototypes @ other_units
    to_own = (to_prototypes * own_class).sum(1)
    others_of_own = (to_others * own_class).sum(1)

    # Attraction; pseudo-prototypes are constants to the gradient.
    constant = near(embeddings @ embeddings.detach().T)
    same = (batch.y[:, None] == batch.y) & real
    pseudo = same & ~torch.eye(len(real), dtype=torch.bool, device=real.device)
    to_pseudo = (constant / (constant + others_of_own[:, None]) * pseudo).sum(1)
    mean_share = (to_own / (to_own + others_of_own) + to_pseudo) / same.sum(1).clamp(min=1)
    attraction = torch.where(real, mean_share, 1.0).log()

    # Repulsion of each example from each example of another class, and from that one's prototype.
    to_examples = near(embeddings @ embeddings.T)
    others_of_each = to_others @ own_class.T
    of_prototype = to_prototypes @ own_class.T
    # 1 - p, which is not lost in rounding as p gets close to 1.
    rest = others_of_each / (to_examples + others_of_each)
    rest = (rest + others_of_each / (of_prototype + others_of_each)) / 2
    different = (batch.y[:, None] != batch.y) & real & real[:, None]
    repulsion = torch.where(different, rest, 1.0).log().sum(1)
    return -(attraction + repulsion).sum() / real.sum().clamp(min=1)
