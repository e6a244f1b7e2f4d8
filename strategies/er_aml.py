"""ER-AML: replay, and a metric loss in which incoming classes push only each other away."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from retrograde import (
    POLICIES,
    Batch,
    Count,
    Memory,
    Net,
    Params,
    Rate,
    Replay,
    State,
    StepData,
    mean,
    seen_classes,
)


@dataclass(frozen=True, kw_only=True)
class ERAML(Replay):
    """Replay with asymmetric metric learning (Caccia et al. 2022, arXiv 2104.05025, section 4).

    Replayed examples are learned by cross-entropy among all classes seen so far. Incoming ones are
    learned by a supervised contrastive loss on features of norm 1: each gets a positive of its own
    class and a negative of another class of its batch, drawn from the batch and from memory. As in
    the authors' code, all positives and negatives of the step are contrasted with each example, and
    one without a positive or without a negative is left out. The code learns the very first batch
    by cross-entropy, that of replayed examples runs over all units there, and it searches the whole
    memory; here, `candidates` of it.
    """

    classes_only: ClassVar[bool] = True
    later_classes_in_loss: ClassVar[bool] = False  # they are masked

    lr: Rate = 0.1
    candidates: Count = 200  # examples of memory among which positives and negatives are drawn
    temperature: Rate = 0.1
    # The contrastive loss is multiplied by temperature / base_temperature.
    base_temperature: Rate = 0.07

    def memory(self) -> Memory:
        drawn = max(self.replay_batch, min(self.candidates, self.buffer_size))
        return POLICIES[self.policy](self.buffer_size, drawn)

    def init(self, net: Net, params: Params) -> Params:
        like = next(iter(params.values()))
        return {"seen": like.new_zeros(net.outputs)}

    def step(self, net: Net, state: State, data: StepData) -> State:
        incoming = data.incoming
        seen = seen_classes(state.extra["seen"], incoming)
        # The candidates come in random order, the real ones first.
        replayed = data.replayed.at(slice(self.replay_batch))
        anchored, contrast = drawn_pairs(net, incoming, data.replayed)

        def loss(params: Params) -> Tensor:
            features = net.features(params, torch.cat([incoming.x, contrast.x]))
            anchors, others = normalize(features).tensor_split([len(incoming.x)])
            losses = self._contrastive_losses(anchors, incoming.y, others, contrast)
            logits = net.logits(params, replayed.x).masked_fill(seen == 0, -torch.inf)
            return data.weighted(mean(losses, anchored), net.loss_from_logits(logits, replayed))

        after = net.update(state, net.grad_of_loss(loss, state.params), self.lr)
        return after.replace(extra={"seen": seen})

    def _contrastive_losses(
        self,
        anchors: Float[Tensor, "anchor feature"],
        y: Int64[Tensor, " anchor"],
        others: Float[Tensor, "other feature"],
        contrast: Batch,
    ) -> Float[Tensor, " anchor"]:
        """The loss of each incoming example against the positives and negatives of all."""
        real = contrast.weight > 0
        similarity = anchors @ others.T / self.temperature
        lowest = torch.finfo(similarity.dtype).min / 4
        log_share = similarity.masked_fill(~real, lowest).log_softmax(1)
        positive = (y[:, None] == contrast.y) & real
        likelihood = (log_share * positive).sum(1) / positive.sum(1).clamp(min=1)
        return -self.temperature / self.base_temperature * likelihood


def drawn_pairs(net: Net, incoming: Batch, memory: Batch) -> tuple[Float[Tensor, " anchor"], Batch]:
    """A positive and a negative for each incoming example.

    Args:
        net: The model, which draws the random numbers.
        incoming: The incoming examples.
        memory: The candidates from memory.

    Returns:
        1 for each incoming example that has both, else 0; and all positives, followed by all
        negatives, with these weights.
    """
    pool = incoming.concat(memory)
    count = len(incoming.x)
    real = pool.weight > 0
    same = incoming.y[:, None] == pool.y
    itself = torch.eye(count, len(pool.y), dtype=torch.bool, device=pool.y.device)
    # Padding repeats rows, so it adds no class.
    incoming_class = same.any(0)
    positive = same & real & ~itself
    negative = ~same & real & incoming_class
    paired = (incoming.weight > 0) & positive.any(1) & negative.any(1)
    anchored = paired.to(incoming.weight.dtype)
    rows = torch.cat([drawn_rows(net, positive, "positive"), drawn_rows(net, negative, "negative")])
    return anchored, pool.at(rows)._replace(weight=anchored.repeat(2))


def drawn_rows(
    net: Net, allowed: Bool[Tensor, "anchor row"], name: str
) -> Int64[Tensor, " anchor"]:
    """A random row for each anchor among those allowed to it; any row if there is none."""
    random = net.uniform(*allowed.shape, name=name).masked_fill(~allowed, -1)
    rows: Tensor = random.argmax(1)
    return rows
