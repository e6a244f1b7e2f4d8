"""Any strategy of Avalanche."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from retrograde import Experience, Learner, OpenPart, Rate, Terms


@dataclass
class Avalanche(OpenPart, Learner):
    """A strategy class of avalanche-lib, or a plugin, and what its constructor takes: `class=Replay,lr=0.1,mem_size=200`.

    Avalanche's object trains task by task; the batches of arrivals, the optimiser and the evaluation are the benchmark's.
    """

    name: str = "Naive"
    lr: Rate = 0.1
    arguments: dict[str, Any] = field(default_factory=dict)

    def agree(self, terms: Terms) -> None:
        self.terms = terms

    def begin(self, model: nn.Module) -> None:
        with quiet():
            from retrograde.bridges.avalanche import experience

            from ._avalanche import build, watched

            self.experience = experience
            self.model, self.fresh = model, True
            self.strategy = build(self.name, self.arguments, self.lr, self.terms, model)
            self.watch = watched(self.strategy)

    def learn(self, experience: Experience, stepped: Callable[[int], None]) -> None:
        batches = [batch.tolist() for batch in experience.batches]
        size = len(batches) // self.terms.epochs
        self.watch.epochs = [
            batches[start : start + size] for start in range(0, len(batches), size)
        ]
        self.watch.arrivals, self.watch.stepped, self.fresh = len(experience.y), stepped, False
        with quiet():
            given = self.experience(
                experience.x, experience.y, experience.task, self.terms.units, self.terms.scenario
            )
            self.strategy.train(given, eval_streams=[], num_workers=0)
        self.watch.stepped, self.watch.epochs = None, []

    def observe(self, x: Float[Tensor, "row *shape"], y: Int64[Tensor, " row"], task: int) -> None:
        self.learn(
            Experience(x, y, task, [torch.arange(len(y))] * self.terms.epochs), lambda _: None
        )

    def predict(
        self, x: Float[Tensor, "row *shape"], task: int | None
    ) -> Float[Tensor, "row unit"]:
        """What the strategy answers in its own evaluation; before anything is learned, the model, since some cannot answer."""
        if self.fresh:
            start: Tensor = self.model.eval()(x)
            return start
        number = task or 0
        unit = int(self.terms.units[number].argmax())  # some right answer must be given
        with quiet():
            y = torch.full((len(x),), unit)
            self.strategy.eval(
                [self.experience(x, y, number, self.terms.units, self.terms.scenario)],
                num_workers=0,
            )
        outputs = torch.cat(self.watch.outputs)
        self.watch.outputs = []
        return _fitted(outputs, self.terms.units.shape[1])


def _fitted(outputs: Float[Tensor, "row some"], units: int) -> Float[Tensor, "row unit"]:
    """Outputs for all units, where a strategy answers with those it has met only."""
    whole = outputs.new_full((len(outputs), max(units, outputs.shape[1])), -torch.inf)
    whole[:, : outputs.shape[1]] = outputs
    return whole[:, :units]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what Avalanche prints, and without warnings, also those that it insists on."""
    with warnings.catch_warnings(record=True), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
