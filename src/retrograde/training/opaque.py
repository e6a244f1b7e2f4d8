"""The backend of learners that are not pure: one replicate, trained task by task."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner, LearnerExperience, StreamInfo
from retrograde.losses import losses_of, mean, squared_errors
from retrograde.networks.build import build, is_users_own
from retrograde.networks.checks import agree, check_rows_apart
from retrograde.networks.hidden_state import check_drawn_from_seed
from retrograde.optim import Params
from retrograde.parts.author_code import located
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import Schedule, test_chunks, train_rows
from retrograde.streams.stream import Stream
from retrograde.training.backend import TaskCost
from retrograde.training.boundary import check_scores
from retrograde.training.columns import Columns
from retrograde.training.compiled_step import Compile
from retrograde.training.evaluation import Errors, Predictions, compare
from retrograde.training.example_rows import targets_of
from retrograde.training.replicas import spread
from retrograde.training.snapshots import Snapshot


class OpaqueReplica:
    """One replicate of a `Learner`.

    It gets the same examples in the same order as a pure strategy without a memory.
    """

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
        self.benchmark = benchmark
        self.stream = stream
        self.seed = seed
        self.device = device
        self.learner = copy.deepcopy(learner)
        self._build_model()
        info = StreamInfo(
            benchmark.scenario,
            stream.units,
            benchmark.epochs,
            benchmark.batch_size,
            benchmark.optimizer,
            benchmark.weighting,
            stream.regression,
        )
        self.learner.receive(info)
        self.learner.setup(self.model)
        self.test_rows = test_chunks([stream])
        self.schedule = Schedule()
        # True if the next evaluation first checks that examples are predicted independently.
        self.unproven = False
        self.at_first = kept_bytes(self.learner)
        self.tally: dict[str, int] = {}
        self.units = torch.from_numpy(stream.units).to(device)
        # The table of targets, in regression.
        self.own: Params = {}
        if stream.targets is not None:
            self.own["targets"] = torch.from_numpy(stream.targets).to(device)

    def _build_model(self) -> None:
        name = self.benchmark.model
        data = self.stream.data
        outputs = self.stream.units.shape[1]
        seed = torch_seed(self.seed, "weights")
        weights = self.benchmark.weights or None
        model = build(name, data.shape, outputs, seed, running=True, weights=weights)
        some = spread(len(data.x_train)).numpy()
        probe = self._x(data.x_train, some, 0).cpu()
        check_rows_apart(model, probe, name)
        if is_users_own(name):
            again = build(name, data.shape, outputs, seed, running=True, weights=weights)
            check_drawn_from_seed(name, model, again, probe)
        self.model = model.to(self.device)
        # Gradients are taken on a twin, so that probes leave the model as it is.
        self.twin = copy.deepcopy(self.model).eval()
        # Copies from the start show later which parameters and buffers training changes.
        named = dict(self.model.named_parameters())
        self.start = _copies(named)
        self.buffers = _copies(dict(self.model.named_buffers()))
        self.learnt = [key for key, value in named.items() if value.requires_grad]

    @property
    def keeps_statistics(self) -> bool:
        """See `Backend.keeps_statistics`."""
        now = self.model.named_buffers()
        return any(not torch.equal(value, self.buffers[name]) for name, value in now)

    def _x(
        self,
        x: np.ndarray,
        row: np.ndarray,
        view: int | np.ndarray,
    ) -> Tensor:
        """Some rows of a dataset as the model sees them in a view."""
        images = self.stream.normalised(self.stream.images(x, row, view))
        return torch.from_numpy(images).to(self.device)

    def begin(self, number: int) -> bool:
        """See `Backend.begin`: there is no step to make ready."""
        return False

    def warm_up(self, mode: Compile) -> None:
        """See `Backend.warm_up`: a learner has no step that is compiled."""

    def take_statistics(self) -> dict[str, np.ndarray]:
        """See `Backend.take_statistics`: a learner logs nothing."""
        return {}

    def learn(
        self,
        number: int,
        progress: Callable[[int], None],
    ) -> TaskCost:
        """Learn one experience; the last batch of an epoch may be smaller.

        Args:
            number: The number of the experience, from 0.
            progress: Called with 1 after each step.
        """
        rows, _ = train_rows(
            self.stream, number, self.benchmark, self.schedule, None, None, self.seed
        )
        taken: list[int] = []

        def stepped(examples: int) -> None:
            taken.append(examples)
            progress(1)

        self.learner.learn(self._experience(rows, number), stepped)
        self.learner.end_experience()
        # Once trained, a learner may predict in another way than at the start.
        self.unproven = number == 0
        incoming = int(rows.weight.sum())
        # Examples of the learner's steps beyond those of the schedule are replayed ones.
        replayed = max(0, sum(taken) - incoming)
        return TaskCost(
            steps=np.array([len(taken)]),
            incoming=np.array([incoming]),
            replayed=np.array([replayed]),
        )

    def _experience(self, rows: Int64[Rows, "step row"], number: int) -> LearnerExperience:
        """The examples of an experience, each once, and their indices for each step."""
        real = rows.real
        used = rows[real]
        _, first, inverse = np.unique(
            used.examples.array,
            axis=0,
            return_index=True,
            return_inverse=True,
        )
        # `unique` sorts by value; a learner gets the examples in the order of their first use.
        order = np.argsort(first)
        rank = np.argsort(order)
        index = np.empty(real.shape, dtype=np.int64)
        # The shape of the inverse differs between versions of NumPy.
        index[real] = rank[inverse.reshape(-1)]
        examples = used[first[order]]
        x = self._x(self.stream.data.x_train, examples.row, examples.view)
        columns = Columns.of(torch.from_numpy(examples.array.copy()).to(self.device))
        targets = targets_of(columns, self.own)
        steps = zip(index, real, strict=True)
        batches = [torch.from_numpy(of_step[kept]) for of_step, kept in steps]
        # Without boundaries, nothing tells experiences apart.
        known = number if self.benchmark.boundaries == "known" else 0
        return LearnerExperience(x, targets, known, batches)

    def evaluate(
        self,
        chunks: Int64[Rows, "chunk replicate row"],
        during: bool = False,
        validation: bool = False,
    ) -> Predictions:
        """See `Backend.evaluate`."""
        if self.unproven:
            self.check_predictions()
        # Learners may switch modes or draw random numbers while they predict.
        with undisturbed(self.model, self.seed):
            parts = [self._predict(rows[0], validation) for rows in chunks]
        # The one replicate is a leading axis.
        columns = [np.concatenate(chunks)[None] for chunks in zip(*parts, strict=True)]
        predicted, correct, given_task, confidence, finite = columns
        return Predictions(predicted, correct, given_task, confidence, np.asarray(finite.all(1)))

    def errors(self, chunks: Int64[Rows, "chunk replicate row"]) -> Errors:
        """See `Backend.errors`."""
        if self.unproven:
            self.check_predictions()
        with undisturbed(self.model, self.seed):
            parts = [self._squared(rows[0]) for rows in chunks]
        squared = torch.cat(parts)[None]
        return Errors(squared.numpy(), squared.isfinite().all(1).numpy())

    def _squared(self, rows: Int64[Rows, " row"]) -> Float[Tensor, " row"]:
        """The squared error of each row, in double precision."""
        columns = Columns.of(torch.from_numpy(rows.array).to(self.device))
        wanted = targets_of(columns, self.own).cpu()
        return squared_errors(self.scores(rows).double(), wanted.double())

    def check_predictions(self) -> None:
        """Check that scores of an example do not depend on the examples predicted with it.

        Raises:
            UserError: If they do, or one example cannot be predicted alone.
        """
        self.unproven = False
        tests = self.test_rows[0, 0]
        of_first_task = tests[tests.task == 0]
        rows = of_first_task[spread(len(of_first_task)).numpy()]
        combined = self._undisturbed(rows)
        try:
            alone = torch.cat([self._undisturbed(row[None]) for row in rows])
        except Exception as error:
            why = located(error, self.learner)
            raise UserError(
                f"{self._refusal()} It cannot predict one example alone: {why}. {_REMEDY}"
            ) from error
        if not agree(combined, alone):
            why = "Its scores of an example alone and with others differ."
            raise UserError(f"{self._refusal()} {why} {_REMEDY}")

    def _refusal(self) -> str:
        name = type(self.learner).__name__
        return (
            f"{name} with model={self.benchmark.model}: "
            "a score may not depend on the other examples that are predicted."
        )

    def _undisturbed(self, rows: Int64[Rows, " row"]) -> Float[Tensor, "row unit"]:
        with undisturbed(self.model, self.seed):
            return self.scores(rows)

    def scores(
        self, rows: Int64[Rows, " row"], validation: bool = False
    ) -> Float[Tensor, "row unit"]:
        """The learner's scores of examples; the highest is its answer.

        Args:
            rows: Test examples; padding has scores of 0.
            validation: True if they are validation examples, rows of the training examples.
        """
        units = self.units.shape[1]
        data = self.stream.data
        dataset = data.x_train if validation else data.x_test
        # In double precision, in which large scores that differ little do not become equal.
        scores = torch.zeros(len(rows), units, dtype=torch.double)
        # A learner predicts one task at a time, since its examples may look different in each.
        for task in np.unique(rows.task).tolist():
            of_task = (rows.task == task) & rows.real
            x = self._x(dataset, rows.row[of_task], rows.view[of_task])
            with torch.no_grad():
                given_task = task if self.benchmark.scenario == "task" else None
                found = self.learner.predict(x, given_task)
                check_scores(self.learner, "predict", found, len(x), units)
                scores[torch.from_numpy(of_task)] = found.cpu().double()
        return scores

    def _predict(self, rows: Int64[Rows, " row"], validation: bool) -> tuple[np.ndarray, ...]:
        """The fields of `Predictions` for each row."""
        y = torch.from_numpy(rows.y.copy())
        units = self.units.cpu()[rows.task]
        found = compare(self.scores(rows, validation), y, units, self.benchmark.scenario == "task")
        return tuple(column.numpy() for column in found)

    def snapshot(self) -> Snapshot:
        """See `Backend.snapshot`: the state of a learner may be anything."""
        raise NotImplementedError

    def restore(self, snapshot: Snapshot) -> None:
        """See `Backend.restore`."""
        raise NotImplementedError

    def tensors(self, replicate: int) -> Params:
        """See `Backend.tensors`."""
        return dict(self.model.state_dict())

    def parameters(self) -> Params:
        """See `Backend.parameters`.

        Empty if the learner replaced parameters of the given model by others of another form, or
        trains something else.
        """
        now = {name: value.detach() for name, value in self.model.named_parameters()}
        if _shapes(now) != _shapes(self.start):
            return {}
        unchanged = (torch.equal(value, self.start[name]) for name, value in now.items())
        if all(unchanged):
            return {}
        return {name: now[name][None].clone() for name in self.learnt}

    def examples(self, rows: Int64[Rows, "replicate part row"]) -> Batch:
        """See `Backend.examples`."""
        x_test = self.stream.data.x_test
        x = torch.stack([self._x(x_test, part.row, part.view) for part in rows[0]])
        columns = Columns.of(torch.from_numpy(rows.array).to(self.device))
        y = targets_of(columns, self.own)
        return Batch(x[None], y, columns.task, columns.weight.float())

    def gradients(
        self,
        params: Params,
        parts: Batch,
    ) -> tuple[Float[Tensor, "replicate part"], Params]:
        """See `Backend.gradients`."""
        values = {name: value[0] for name, value in params.items()}
        self.twin.load_state_dict(self.model.state_dict() | values)
        of_replicate = parts.map(lambda column: column[0])
        batches = [of_replicate.at(number) for number in range(len(of_replicate.x))]
        losses, gradients = zip(*map(self._gradient, batches), strict=True)
        # One entry per part, and a leading axis for the one replicate.
        by_parameter = zip(*gradients, strict=True)
        stacked = {}
        for name, of_parts in zip(self.learnt, by_parameter, strict=True):
            stacked[name] = torch.stack(of_parts)[None]
        return torch.stack(losses)[None], stacked

    def _gradient(self, part: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Mean loss on one part, and its gradient."""
        logits = self.twin(part.x)
        if self.benchmark.scenario == "task":
            logits = logits.masked_fill(~self.units[part.task], -torch.inf)
        losses = losses_of(self.stream.regression)
        loss = mean(losses(logits, part.y), part.weight)
        named = dict(self.twin.named_parameters())
        learnt = [named[name] for name in self.learnt]
        return loss.detach(), torch.autograd.grad(loss, learnt)

    def held_examples(self) -> list[int]:
        """Always 0: examples that a learner stores count in `state_bytes`."""
        return [0]

    def state_bytes(self) -> int:
        """Growth of the learner since it began, in bytes; 0 if it cannot be pickled."""
        return max(0, kept_bytes(self.learner) - self.at_first)


def _copies(tensors: Mapping[str, Tensor]) -> Params:
    return {name: value.detach().clone() for name, value in tensors.items()}


def _shapes(tensors: Params) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


class _Weighing(pickle.Pickler):
    """A pickler that measures tensors and arrays instead of writing them.

    Each counts once, with the bytes of its numbers.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.weighed: dict[tuple[object, ...], int] = {}
        # References keep an address from being used again during the measurement.
        self._held: list[object] = []

    def persistent_id(self, obj: object) -> int | None:
        """Measure a tensor or array and write 0 in its place; None pickles anything else."""
        key: tuple[object, ...]
        if isinstance(obj, Tensor):
            key = (obj.data_ptr(), obj.shape, obj.stride(), obj.dtype)
            size = obj.numel() * obj.element_size()
        elif isinstance(obj, np.ndarray) and obj.dtype != object:
            key = (obj.ctypes.data, obj.shape, obj.strides, obj.dtype.str)
            size = obj.nbytes
        else:
            return None
        self.weighed[key] = size
        self._held.append(obj)
        return 0


def kept_bytes(learner: Learner) -> int:
    """Bytes of a learner's tensors and arrays, and of everything else as pickled.

    0 if it cannot be pickled.
    """
    file = io.BytesIO()
    weighing = _Weighing(file)
    try:
        weighing.dump(learner)
    # An author's object may fail to pickle in any way.
    except Exception:
        return 0
    return file.tell() + sum(weighing.weighed.values())


_REMEDY = (
    "Let `predict` put the model into evaluation mode (`model.eval()`) and leave its buffers alone."
)


@contextmanager
def undisturbed(
    model: nn.Module,
    seed: int,
) -> Iterator[None]:
    """Restore the modes and buffers of a model, and the global generators, after the block.

    Inside the block, the generators are seeded.
    """
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
