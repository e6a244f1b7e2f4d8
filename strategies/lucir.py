"""LUCIR: exemplars, a cosine classifier, and features that keep their direction."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, linear, normalize

from retrograde import (
    Batch,
    Count,
    ExemplarReplay,
    ExperienceEnd,
    Net,
    NonNegative,
    Params,
    Rate,
    Scenario,
    State,
    StepData,
    UserError,
    mean,
    seen_classes,
)

VECTORS = "cosine.weight"
SCALE = "cosine.scale"


class CosineHead(nn.Module):
    """Cosines of features and of one vector for each class; logits are these times the scale."""

    def __init__(self, features: int, outputs: int, scale: float) -> None:
        super().__init__()
        bound = features**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, features).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        return linear(normalize(features), normalize(self.weight))


@dataclass(frozen=True, kw_only=True)
class LUCIR(ExemplarReplay):
    """Learning a unified classifier incrementally via rebalancing (Hou et al. 2019, CVPR).

    Incoming examples and exemplars form one training set, and a cosine head learns the labels among
    the seen classes. Features keep the direction that they have in the network at the end of the
    last experience, and the vectors of earlier classes stay. An exemplar's own class is a margin
    ahead of the best new classes. The authors start a new class's vector at the mean direction of
    its features, and leave out the ReLU before the head; here, it starts at random, and the
    features are the model's. Their optional training on balanced examples at the end is left out.
    """

    # Not domain-incremental: there is no new class.
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "class")
    probes: ClassVar[bool] = False  # the cosine head answers, not the model's
    later_classes_in_loss: ClassVar[bool] = False  # they are masked

    lr: Rate = 0.1
    scale: Rate = 1.0  # of cosines, at the start
    less_forget: NonNegative = 5.0  # times the root of earlier over new classes, as in the code
    ranking: NonNegative = 1.0  # the weight of the margin ranking loss
    margin: NonNegative = 0.5
    rivals: Count = 2  # new classes that an exemplar's class is ahead of

    def modules(
        self, shape: tuple[int, ...], outputs: int, features: int | None
    ) -> dict[str, nn.Module]:
        if features is None:
            raise UserError("LUCIR needs a model with a module named head. Choose another model.")
        return {"cosine": CosineHead(features, outputs, self.scale)}

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        no_class = next(iter(params.values())).new_zeros(net.outputs)
        return {"teacher": params | net.buffers, "earlier": no_class, "seen": no_class}

    def step(self, net: Net, state: State, data: StepData) -> State:
        batch = data.incoming  # incoming examples and exemplars, by the schedule
        earlier = state.extra["earlier"]
        seen = seen_classes(state.extra["seen"], batch)
        new = seen - earlier
        stability: Tensor = self.less_forget * (earlier.sum() / new.sum().clamp(min=1)).sqrt()
        directions = net.in_eval_mode().features(state.extra["teacher"], batch.x)

        def loss(params: Params) -> Tensor:
            features = net.features(params, batch.x)
            cosines = net.call("cosine", params, features)
            logits = (params[SCALE] * cosines).masked_fill(seen == 0, -torch.inf)
            label_loss = net.loss_from_logits(logits, batch)
            turned = mean(1 - cosine_similarity(features, directions), batch.weight)
            ranked = self._ranking_loss(cosines, batch, (earlier, new))
            return label_loss + stability * turned + self.ranking * ranked

        after = net.update(state, net.grad_of_loss(loss, state.params), self.lr)
        # Also momentum leaves the vectors of earlier classes alone.
        vectors = torch.where(earlier[:, None] > 0, state.params[VECTORS], after.params[VECTORS])
        params = after.params | {VECTORS: vectors}
        return after.replace(params=params, extra=state.extra | {"seen": seen})

    def _ranking_loss(
        self, cosines: Float[Tensor, "row unit"], batch: Batch, classes: tuple[Tensor, Tensor]
    ) -> Float[Tensor, ""]:
        """The mean over exemplars and their rivals of the cosine that lacks to the margin."""
        earlier, new = classes
        own = cosines.gather(1, batch.y[:, None])
        rivals = cosines.masked_fill(new == 0, -torch.inf).topk(min(self.rivals, len(new))).values
        lacking = (self.margin - own + rivals).relu().sum(1)
        exemplars = batch.weight * earlier[batch.y]
        return mean(lacking / new.sum().clamp(min=1, max=rivals.shape[1]), exemplars)

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        seen = state.extra["seen"]
        return state.replace(extra={"teacher": state.model, "earlier": seen, "seen": seen})

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        cosines = net.call("cosine", state.params, net.features(state.params, x))
        logits = state.params[SCALE] * cosines
        return net.mask_tasks(logits.masked_fill(state.extra["seen"] == 0, -torch.inf), task)
