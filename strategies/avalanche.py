"""Any strategy of Avalanche."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from retrograde import Boundaries, Learner, LearnerExperience, OpenPart, Rate, StreamInfo


@dataclass
class Avalanche(OpenPart, Learner):
    """Any strategy class or plugin of avalanche-lib, such as `class=Replay,lr=0.1,mem_size=200`.

    The further settings are the arguments of its constructor. Avalanche's object trains task by
    task; the batches of incoming examples, the optimiser and the evaluation are the benchmark's.
    """

    boundaries: ClassVar[Boundaries | None] = "tasks"

    name: str = "Naive"
    lr: Rate = 0.1
    arguments: dict[str, Any] = field(default_factory=dict)

    def receive(self, info: StreamInfo) -> None:
        self.info = info

    def setup(self, model: nn.Module) -> None:
        # Importing Avalanche can warn too.
        with quiet():
            from retrograde.bridges.avalanche import experience

            from ._avalanche import build, observed

            self.experience = experience
            self.model = model
            self.untrained = True
            self.strategy = build(self.name, self.arguments, self.lr, self.info, model)
            self.observer = observed(self.strategy)

    def learn(self, experience: LearnerExperience, on_step: Callable[[int], None]) -> None:
        batches = [batch.tolist() for batch in experience.batches]
        size = len(batches) // self.info.epochs
        starts = range(0, len(batches), size)
        self.observer.epochs = [batches[start : start + size] for start in starts]
        self.observer.train_examples = len(experience.y)
        self.observer.on_step = on_step
        self.untrained = False
        with quiet():
            examples = self._experience(experience.x, experience.y, experience.task)
            self.strategy.train(examples, eval_streams=[], num_workers=0)
        self.observer.on_step = None
        self.observer.epochs = []

    def observe(self, x: Float[Tensor, "row *shape"], y: Int64[Tensor, " row"], task: int) -> None:
        batches = [torch.arange(len(y))] * self.info.epochs
        self.learn(LearnerExperience(x, y, task, batches), lambda _: None)

    def predict(
        self, x: Float[Tensor, "row *shape"], task: int | None
    ) -> Float[Tensor, "row unit"]:
        """The outputs of the strategy in its own evaluation; untrained, those of the model."""
        # Some strategies cannot predict before they have learned.
        if self.untrained:
            initial: Tensor = self.model.eval()(x)
            return initial
        number = task or 0
        # Avalanche evaluates on labelled examples only; any label of the task will do.
        unit = int(self.info.units[number].argmax())
        with quiet():
            y = torch.full((len(x),), unit)
            examples = self._experience(x, y, number)
            self.strategy.eval([examples], num_workers=0)
        outputs = torch.cat(self.observer.outputs)
        self.observer.outputs = []
        return _all_units(outputs, self.info.units.shape[1])

    def _experience(self, x: Tensor, y: Tensor, task: int) -> Any:
        """Examples of one task as an experience of Avalanche."""
        return self.experience(x, y, task, self.info.units, self.info.scenario)


def _all_units(outputs: Float[Tensor, "row _"], units: int) -> Float[Tensor, "row unit"]:
    """The outputs for all units; minus infinity for classes that the strategy has not seen."""
    count = outputs.shape[1]
    scores = outputs.new_full((len(outputs), max(units, count)), -torch.inf)
    scores[:, :count] = outputs
    return scores[:, :units]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the output and the warnings of Avalanche."""
    # Recording also hides the warnings that Avalanche enables again.
    with warnings.catch_warnings(record=True), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
