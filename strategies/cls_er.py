"""CLS-ER: replay towards the outputs of two slow averages of the model."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Batch,
    Decay,
    Net,
    NonNegative,
    Params,
    Rate,
    Replay,
    Share,
    State,
    StepData,
    TaskWeighting,
    logit_distance,
)


@dataclass(frozen=True, kw_only=True)
class CLSER(Replay):
    """Complementary learning systems (Arani et al. 2022, arXiv 2201.12604, algorithm 1).

    A plastic and a stable model are running averages of the working one: after a step, each is
    updated with a probability of its own (equation 1). On replayed examples, the working model's
    logits are drawn towards those of the average that gives the label the higher probability
    (equation 2). The stable model predicts.

    As in the authors' code, and not in the paper: an average begins with a decay of
    1 - 1 / (steps + 1), as long as that is lower. Here, unlike there, batch normalisation in the
    averages uses running statistics, which are averages as well, and incoming and replayed examples
    are one batch of the working model.
    """

    # The paper has no weights of tasks, and its consistency loss is on past examples alone.
    task_weighting: ClassVar[TaskWeighting | None] = "refused"

    lr: Rate = 0.1
    consistency: NonNegative = 0.1  # lambda, the weight of the distance to the averages' logits
    stable_decay: Decay = 0.999  # alpha_S
    stable_probability: Share = 0.7  # r_S, of an update of the stable model after a step
    plastic_decay: Decay = 0.999  # alpha_P
    plastic_probability: Share = 0.9  # r_P

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        model = params | net.buffers
        steps = next(iter(params.values())).new_zeros(())
        return {"stable": model, "plastic": model, "steps": steps}

    def step(self, net: Net, state: State, data: StepData) -> State:
        target = self._target(net, state, data.replayed)

        def loss(params: Params) -> Tensor:
            logits = net.logits(params, data.combined.x)
            _, past = data.parts(logits)
            distance = logit_distance(past, target, data.replayed.weight)
            return net.loss_from_logits(logits, data.combined) + self.consistency * distance

        gradient = net.grad_of_loss(loss, state.params)
        after = net.update(state, gradient, self.lr)
        return after.replace(extra=self._averaged(net, state.extra, after.model))

    def _target(self, net: Net, state: State, replayed: Batch) -> Float[Tensor, "row unit"]:
        """The logits of the average that gives a row's label the higher probability."""
        averages = net.in_eval_mode()
        stable = averages.logits(state.extra["stable"], replayed.x)
        plastic = averages.logits(state.extra["plastic"], replayed.x)
        # A lower cross-entropy is a higher probability.
        stable_is_better = net.row_losses(stable, replayed) < net.row_losses(plastic, replayed)
        return torch.where(stable_is_better[:, None], stable, plastic)

    def _averaged(self, net: Net, extra: dict[str, Any], model: Params) -> dict[str, Any]:
        steps = extra["steps"] + 1
        ramp = 1 - 1 / (steps + 1)
        plastic_moves = net.uniform(name="plastic") < self.plastic_probability
        stable_moves = net.uniform(name="stable") < self.stable_probability
        plastic_decay = ramp.clamp(max=self.plastic_decay)
        stable_decay = ramp.clamp(max=self.stable_decay)
        return {
            "stable": moved(extra["stable"], model, stable_decay, stable_moves),
            "plastic": moved(extra["plastic"], model, plastic_decay, plastic_moves),
            "steps": steps,
        }

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        return net.logits(state.extra["stable"], x, task)


def moved(average: Params, model: Params, decay: Tensor, moves: Tensor) -> Params:
    """The average after an update, decay * average + (1 - decay) * model; itself if not `moves`."""
    after = {}
    for name, value in average.items():
        mixed = decay * value + (1 - decay) * model[name]
        # A count of batches, among running statistics, stays a whole number.
        after[name] = torch.where(moves, mixed, value).to(value.dtype)
    return after
