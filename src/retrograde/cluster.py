"""Jobs on a Ray cluster: each is a task on whichever node has room, whose records come back to the driver."""

import logging
import socket
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from retrograde.data import Dataset
from retrograde.errors import UserError
from retrograde.execute import Ended, Progress, Throttled, failed, run_job
from retrograde.plan import Context, Job
from retrograde.record import Record
from retrograde.registry import Registry
from retrograde.trial import dataset

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise UserError(
        f"--cluster needs the package ray, which does not import ({error}). Install it: pip install -c constraints.txt ray."
    ) from error

NEEDS = {"cpu": {"CPU": 1}, "cuda": {"CPU": 1, "GPU": 1}}
"""What a job takes of its node, by device."""
RETRIES = 3
"""How often a job is begun again whose worker or node was lost."""
SECONDS = 0.2
"""Between two looks at the steps taken."""


class Board:
    """The steps that each job has taken; one that is begun again counts from nought."""

    def __init__(self) -> None:
        self.steps: Counter[int] = Counter()

    def begin(self, job: int) -> None:
        """A worker has the job."""
        self.steps[job] = 0

    def add(self, job: int, steps: int) -> None:
        """It took steps."""
        self.steps[job] += steps

    def total(self) -> int:
        """The steps of all jobs."""
        return self.steps.total()


class _Shared(NamedTuple):
    """What every task of a run is told."""

    context: Context
    plugins: dict[str, str]  # the text of each, by the name of its file
    board: Any


def run_on_cluster(jobs: list[Job], context: Context, progress: Progress) -> Ended:
    """Run jobs as Ray tasks; one whose worker or node is lost is begun again on another."""
    if not jobs:
        return
    _connect(context)
    try:
        board = _board()
        running = dict(zip(_start(jobs, context, board), jobs, strict=True))
        shown = 0
        while running:
            ended, _ = ray.wait(list(running), timeout=SECONDS)
            taken = cast("int", ray.get(board.total.remote()))
            progress(taken - shown)
            shown = taken
            for task in ended:
                job = running.pop(task)
                yield job, _records(task, job, context)
    finally:
        ray.shutdown()  # cancels what still runs


def _connect(context: Context) -> None:
    try:
        _knock(context.cluster)
        ray.init(context.cluster, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise UserError(
            f"--cluster takes auto or the HOST:PORT of a Ray cluster that this machine is part of; {context.cluster!r} gave "
            f"{type(error).__name__}: {' '.join(str(error).split())} Start one with `ray start --head`."
        ) from error
    had: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]
    for kind, count in NEEDS[context.device].items():
        if had.get(kind, 0) < count:
            ray.shutdown()
            raise UserError(
                f"--device {context.device} needs a {kind} in the cluster; {context.cluster} has none. "
                f"Add a node with one, `ray start --address HOST:PORT --num-{kind.lower()}s 1`, or choose another --device."
            )


def _knock(address: str) -> None:
    """Raise `OSError` where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _board() -> Any:
    """A board on the driver's own node, which is lost with the driver only."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()


def _start(jobs: list[Job], context: Context, board: Any) -> list[Any]:
    """Submit every job; plugins and each dataset go into the object store, from where a node has them once."""
    needs = NEEDS[context.device]
    task = ray.remote(num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), max_retries=RETRIES)(_work)
    plugins = {path.name: path.read_text(encoding="utf-8") for path in context.plugins}
    shared = ray.put(_Shared(context._replace(plugins=(), data={}), plugins, board))
    names = [str(job.cell.benchmark.settings.get("dataset", "")) for job in jobs]
    data: dict[str, Any] = {name: ray.put(dataset(name, context.data)) for name in set(names) if name}
    numbered = enumerate(zip(jobs, names, strict=True))
    return [task.remote(number, job, shared, data.get(name)) for number, (job, name) in numbered]


def _work(number: int, job: Job, shared: _Shared, data: Dataset | None) -> list[Record]:
    """A task, on its node: the job, with plugins and data from the object store."""
    torch.set_num_threads(1)
    board = shared.board
    board.begin.remote(number)
    steps = Throttled(lambda taken: board.add.remote(number, taken))
    given = {job.cell.benchmark.settings["dataset"]: data} if data else {}
    with tempfile.TemporaryDirectory() as folder:
        plugins = tuple(_written(name, text, folder) for name, text in shared.plugins.items())
        context = shared.context._replace(plugins=plugins, data=given, jobs=_together(shared.context.device))
        records = [_as_sent(record, job) for record in run_job(job, Registry(plugins), context, steps)]
    steps.flush()
    ray.get(board.total.remote())  # it has been told all
    return records


def _as_sent(record: Record, job: Job) -> Record:
    """The record with the driver's files of what came from there; a model's file is the node's own."""
    sent = job.code.sources if job.code else {}
    own = {role: files for role, files in sent.items() if role != "model"}
    return replace(record, sources=record.sources | own)


def _written(name: str, text: str, folder: str) -> Path:
    path = Path(folder, name)
    path.write_text(text, encoding="utf-8")
    return path


def _together(device: str) -> int:
    """How many jobs this node has at a time, at most."""
    here = ray.get_runtime_context().get_node_id()
    had = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)  # type: ignore[no-untyped-call, unused-ignore]
    return min(int(had.get(kind, 0) // count) for kind, count in NEEDS[device].items())


def _records(task: Any, job: Job, context: Context) -> list[Record]:
    try:
        records: list[Record] = ray.get(task)
    except RayTaskError as error:
        return failed(job, f"Its node could not begin: {type(error.cause).__name__}: {error.cause}", _own(context))
    except RayError as error:
        lost = f"Its worker or its node was lost, {RETRIES + 1} times; the last time Ray said {type(error).__name__}."
        return failed(job, f"{lost} `ray logs` has more.", _own(context))
    return records


def _own(context: Context) -> Context:
    """The driver's, which may have no GPU."""
    return context._replace(device="cpu")
