"""Learners that are not pure, at work: one replicate, fed task by task from the same schedule."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Experience, Learner, Terms
from retrograde.losses import cross_entropies, mean
from retrograde.models.build import build
from retrograde.models.checks import agree, check_rows_apart
from retrograde.optim import Params
from retrograde.parts.author_code import located
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.schedule import Rows, Schedule, test_chunks, train_rows
from retrograde.streams.stream import Stream
from retrograde.training.backend import Hits, Used
from retrograde.training.boundary import check_scores
from retrograde.training.stream_replicas import spread


class Opaque:
    """One replicate of a `Learner`."""

    backend = "opaque"
    compiled = False

    def __init__(
        self,
        benchmark: Benchmark,
        learner: Learner,
        stream: Stream,
        seed: int,
        device: torch.device,
    ) -> None:
        self.benchmark, self.stream, self.seed, self.device = benchmark, stream, seed, device
        self.learner = copy.deepcopy(learner)
        model = build(
            benchmark.model,
            stream.data.shape,
            stream.units.shape[1],
            torch_seed(seed, "weights"),
            running=True,
        )
        some = spread(len(stream.data.x_train)).numpy()
        check_rows_apart(model, self._x(stream.data.x_train, some, 0).cpu(), benchmark.model)
        self.model = model.to(device)
        self.twin = copy.deepcopy(
            self.model
        ).eval()  # gradients are taken here, so that the model stays as it is
        self.start = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.buffers = {name: value.detach().clone() for name, value in self.model.named_buffers()}
        self.learnt = [name for name, value in self.model.named_parameters() if value.requires_grad]
        terms = Terms(
            benchmark.scenario,
            stream.units,
            benchmark.epochs,
            benchmark.batch,
            benchmark.optimizer,
            benchmark.weighting,
        )
        self.learner.agree(terms)
        self.learner.begin(self.model)
        self.test_rows, self.schedule = test_chunks([stream]), Schedule()
        self.unproven = (
            False  # whether the next test first checks that examples are predicted by themselves
        )
        self.at_first = kept_bytes(self.learner)
        self.tally: dict[str, int] = {}
        self.units = torch.from_numpy(stream.units).to(device)

    @property
    def keeps_statistics(self) -> bool:
        """See `Backend.keeps_statistics`."""
        return any(
            not torch.equal(value, self.buffers[name]) for name, value in self.model.named_buffers()
        )

    def _x(self, x: np.ndarray, row: np.ndarray, task: int) -> Tensor:
        return torch.from_numpy(self.stream.images(x, row, task)).to(self.device)

    def learn(self, number: int, progress: Callable[[int], None]) -> Used:
        """Learn one task; the last batch is as short as it is."""
        rows, _ = train_rows(
            self.stream, number, self.benchmark, self.schedule, None, None, self.seed
        )
        taken: list[int] = []

        def stepped(examples: int) -> None:
            taken.append(examples)
            progress(1)

        self.learner.learn(self._experience(rows, number), stepped)
        self.learner.end_task()
        self.unproven = number == 0
        new = int(rows[..., 3].sum())
        return Used(np.array([len(taken)]), np.array([new]), np.array([max(0, sum(taken) - new)]))

    def _experience(self, rows: Rows, number: int) -> Experience:
        """The examples of a task, each once, and the places of those that each step takes."""
        real = rows[..., 3] > 0
        examples, first, inverse = np.unique(
            rows[real][:, [0, 2]], axis=0, return_index=True, return_inverse=True
        )
        order = np.argsort(first)
        place = np.empty(real.shape, dtype=np.int64)
        place[real] = np.argsort(order)[inverse.reshape(-1)]
        row, y = examples[order].T
        batches = [torch.from_numpy(each[own]) for each, own in zip(place, real, strict=True)]
        x = self._x(self.stream.data.x_train, row, number)
        return Experience(x, torch.from_numpy(y.copy()).to(self.device), number, batches)

    def evaluate(self, chunks: Rows) -> Hits:
        """See `Backend.evaluate`."""
        if self.unproven:
            self.check_predictions()
        with undisturbed(self.model, self.seed):
            parts = [self._predict(rows[0]) for rows in chunks]
        hit, told, sound = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Hits(hit[None], told[None], np.array([sound.all()]))

    def check_predictions(self) -> None:
        """Raise `UserError` where the scores of an example depend on those that are predicted with it."""
        self.unproven = False
        tests = self.test_rows[0, 0]
        own = tests[tests[:, 1] == 0]
        rows = own[spread(len(own)).numpy()]
        together = self._undisturbed(rows)
        try:
            alone = torch.cat([self._undisturbed(row[None]) for row in rows])
        except Exception as error:
            why = located(error, self.learner)
            raise UserError(
                f"{self._refusal()} It cannot predict one example alone: {why}. {_REMEDY}"
            ) from error
        if not agree(together, alone):
            raise UserError(
                f"{self._refusal()} Its scores of an example alone and with others differ. {_REMEDY}"
            )

    def _refusal(self) -> str:
        name = type(self.learner).__name__
        return f"{name} with model={self.benchmark.model}: a score may not depend on the other examples that are predicted."

    def _undisturbed(self, rows: np.ndarray) -> Float[Tensor, "row unit"]:
        with undisturbed(self.model, self.seed):
            return self.scores(rows)

    def scores(self, rows: np.ndarray) -> Float[Tensor, "row unit"]:
        """The learner's scores of test examples; the highest is its answer."""
        scores = torch.zeros(len(rows), self.units.shape[1])
        for task in np.unique(rows[:, 1]).tolist():
            own = (rows[:, 1] == task) & (rows[:, 3] > 0)
            x = self._x(self.stream.data.x_test, rows[own, 0], task)
            with torch.no_grad():
                told = task if self.benchmark.scenario == "task" else None
                given = self.learner.predict(x, told)
                check_scores(self.learner, "predict", given, len(x), self.units.shape[1])
                scores[torch.from_numpy(own)] = given.float().cpu()
        return scores

    def _predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        units, scores = self.units.cpu(), self.scores(rows)
        y = torch.from_numpy(rows[:, 2].copy())
        best_told = scores.masked_fill(~units[rows[:, 1]], -torch.inf).argmax(-1) == y
        best = best_told if self.benchmark.scenario == "task" else scores.argmax(-1) == y
        return best.numpy(), best_told.numpy(), ~scores.isnan().any(-1).numpy()

    def parameters(self) -> Params:
        """See `Backend.parameters`: those of the model that was given, as long as it has its form and they are what learns."""
        now = {name: value.detach() for name, value in self.model.named_parameters()}
        same = {name: value.shape for name, value in now.items()} == {
            name: value.shape for name, value in self.start.items()
        }
        if not same or all(torch.equal(value, self.start[name]) for name, value in now.items()):
            return {}
        return {name: now[name][None].clone() for name in self.learnt}

    def examples(self, rows: Int64[np.ndarray, "replicate part row 4"]) -> Batch:
        """See `Backend.examples`."""
        x = torch.stack(
            [self._x(self.stream.data.x_test, part[:, 0], int(part[0, 1])) for part in rows[0]]
        )
        _, task, y, weight = torch.from_numpy(rows).to(self.device).unbind(-1)
        return Batch(x[None], y, task, weight.float())

    def gradients(
        self, params: Params, parts: Batch
    ) -> tuple[Float[Tensor, "replicate part"], Params]:
        """See `Backend.gradients`."""
        own = {name: value[0] for name, value in params.items()}
        self.twin.load_state_dict(self.model.state_dict() | own)
        found = [
            self._gradient(Batch(*part)) for part in zip(*(each[0] for each in parts), strict=True)
        ]
        losses, gradients = zip(*found, strict=True)
        stacked = {
            name: torch.stack(each)[None]
            for name, each in zip(self.learnt, zip(*gradients, strict=True), strict=True)
        }
        return torch.stack(losses)[None], stacked

    def _gradient(self, part: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The mean loss of one part, and its gradient."""
        logits = self.twin(part.x)
        if self.benchmark.scenario == "task":
            logits = logits.masked_fill(~self.units[part.task], -torch.inf)
        loss = mean(cross_entropies(logits, part.y), part.weight)
        named = dict(self.twin.named_parameters())
        return loss.detach(), torch.autograd.grad(loss, [named[name] for name in self.learnt])

    def held_examples(self) -> list[int]:
        """Unknown: what a learner keeps is its own affair, metered in `state_bytes`."""
        return [0]

    def state_bytes(self) -> int:
        """By how many bytes what the learner keeps has grown since it began; 0 where it cannot be pickled."""
        return max(0, kept_bytes(self.learner) - self.at_first)


class _Weighing(pickle.Pickler):
    """A pickler that weighs tensors and arrays instead of writing them: each costs what its numbers take, and once."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.weighed: dict[tuple[object, ...], int] = {}
        self._held: list[object] = []  # while it weighs, no address may be used again

    def persistent_id(self, obj: object) -> int | None:
        """The number of a tensor or array, which is all that is written of it; None for anything else."""
        if isinstance(obj, Tensor):
            key: tuple[object, ...] = obj.data_ptr(), obj.shape, obj.stride(), obj.dtype
            size = obj.numel() * obj.element_size()
        elif isinstance(obj, np.ndarray) and obj.dtype != object:
            key, size = (obj.ctypes.data, obj.shape, obj.strides, obj.dtype.str), obj.nbytes
        else:
            return None
        self.weighed[key] = size
        self._held.append(obj)
        return 0


def kept_bytes(learner: Learner) -> int:
    """The bytes of all that a learner keeps: of its tensors and arrays, and of the rest as pickled; 0 if it cannot be."""
    file = io.BytesIO()
    weighing = _Weighing(file)
    try:
        weighing.dump(learner)
    except Exception:
        return 0
    return file.tell() + sum(weighing.weighed.values())


_REMEDY = (
    "Let `predict` put the model into evaluation mode (`model.eval()`) and leave its buffers alone."
)


@contextmanager
def undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Leave the modes and buffers of a model, and the global generators, as they are; inside, these are seeded."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with seeded(seed):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for buffer, value in buffers:
            buffer.copy_(value)
