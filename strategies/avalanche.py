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

from retrograde import Experience, Learner, OpenPart, Rate, StreamInfo


@dataclass
class Avalanche(OpenPart, Learner):
    """Any strategy class or plugin of avalanche-lib, such as `class=Replay,lr=0.1,mem_size=200`.

    The further settings are the arguments of its constructor. Avalanche's object trains task by
    task; the batches of incoming examples, the optimiser and the evaluation are the benchmark's.
    """

    name: str = "Naive"
    lr: Rate = 0.1
    arguments: dict[str, Any] = field(default_factory=dict)

    def receive(self, terms: StreamInfo) -> None:
        self.terms = terms

    def setup(self, model: nn.Module) -> None:
        # Importing Avalanche can warn too.
        with quiet():
            from retrograde.bridges.avalanche import experience

            from ._avalanche import build, watched

            self.experience = experience
            self.model = model
            self.fresh = True
            self.strategy = build(self.name, self.arguments, self.lr, self.terms, model)
            self.watch = watched(self.strategy)

    def learn(self, experience: Experience, stepped: Callable[[int], None]) -> None:
        batches = [batch.tolist() for batch in experience.batches]
        size = len(batches) // self.terms.epochs
        starts = range(0, len(batches), size)
        self.watch.epochs = [batches[start : start + size] for start in starts]
        self.watch.arrivals = len(experience.y)
        self.watch.stepped = stepped
        self.fresh = False
        with quiet():
            given = self._given(experience.x, experience.y, experience.task)
            self.strategy.train(given, eval_streams=[], num_workers=0)
        self.watch.stepped = None
        self.watch.epochs = []

    def observe(self, x: Float[Tensor, "row *shape"], y: Int64[Tensor, " row"], task: int) -> None:
        batches = [torch.arange(len(y))] * self.terms.epochs
        self.learn(Experience(x, y, task, batches), lambda _: None)

    def predict(
        self, x: Float[Tensor, "row *shape"], task: int | None
    ) -> Float[Tensor, "row unit"]:
        """The outputs of the strategy in its own evaluation; those of the model before any task."""
        # Some strategies cannot predict before they have learned.
        if self.fresh:
            start: Tensor = self.model.eval()(x)
            return start
        number = task or 0
        # Avalanche evaluates on labelled examples only; any label of the task will do.
        unit = int(self.terms.units[number].argmax())
        with quiet():
            y = torch.full((len(x),), unit)
            given = self._given(x, y, number)
            self.strategy.eval([given], num_workers=0)
        outputs = torch.cat(self.watch.outputs)
        self.watch.outputs = []
        return _fitted(outputs, self.terms.units.shape[1])

    def _given(self, x: Tensor, y: Tensor, task: int) -> Any:
        """Examples of one task as an experience of Avalanche."""
        return self.experience(x, y, task, self.terms.units, self.terms.scenario)


def _fitted(outputs: Float[Tensor, "row some"], units: int) -> Float[Tensor, "row unit"]:
    """The outputs for all units; minus infinity for classes that the strategy has not seen."""
    given = outputs.shape[1]
    whole = outputs.new_full((len(outputs), max(units, given)), -torch.inf)
    whole[:, :given] = outputs
    return whole[:, :units]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the output and the warnings of Avalanche."""
    # Recording also hides the warnings that Avalanche enables again.
    with warnings.catch_warnings(record=True), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
