"""Jobs on a Ray cluster: each is a task on whichever node has room, whose records come back to the driver."""

import logging
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

import cloudpickle
import torch

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.parts.registry import Registry, module_name
from retrograde.records.record import Record
from retrograde.running.cell import Job, dataset
from retrograde.running.interruption import kept
from retrograde.running.jobs import Ended, Jobs, Progress, Supply, failed, run_job
from retrograde.running.plan import Context
from retrograde.running.workers import Throttled

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
    modules: dict[str, str]  # what each is called as a module where the jobs come from
    board: Any


class _Crew:
    """The cluster as jobs see it: tasks that are told the same, and of the data what they need."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._needs = NEEDS[context.device]
        cpus, gpus = self._needs["CPU"], self._needs.get("GPU", 0)
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_work)
        self._board = _board()
        plugins = {path.name: path.read_text(encoding="utf-8") for path in context.plugins}
        modules = {path.name: module_name(path) for path in context.plugins}
        # Plugins and each dataset go into the object store, from where a node has them once.
        self._shared = ray.put(
            _Shared(context._replace(plugins=(), data={}), plugins, modules, self._board)
        )
        self._data: dict[str, Any] = {}
        self._numbers = count()

    def room(self) -> int:
        """How many jobs are worth submitting: those that run, and as many that wait, which lets a cluster grow."""
        had: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]
        at_once = min(int(had.get(kind, 0) // needed) for kind, needed in self._needs.items())
        return 2 * max(1, at_once)

    def start(self, job: Job) -> Any:
        """Submit a job."""
        name = str(job.cell.benchmark.settings.get("dataset", ""))
        if name and name not in self._data:
            self._data[name] = ray.put(dataset(name, self.context.data))
        return self._task.remote(
            next(self._numbers), cloudpickle.dumps(job), self._shared, self._data.get(name)
        )

    def steps(self) -> int:
        """The steps of all jobs so far."""
        return cast("int", ray.get(self._board.total.remote()))


def run_on_cluster(jobs: Jobs, context: Context, progress: Progress) -> Ended:
    """Run jobs as Ray tasks; one whose worker or node is lost is begun again on another."""
    supply = Supply(jobs)
    running: dict[Any, Job] = {}
    shown = 0
    _connect(context)
    try:
        crew = _Crew(context)
        while running or not supply.ended:
            room = crew.room()
            while len(running) < room and (job := supply.take()):
                running[crew.start(job)] = job
            ended = _ended(running)
            taken = crew.steps()
            progress(taken - shown)
            shown = taken
            for task in ended:
                job = running.pop(task)
                yield job, _records(task, job, context)
    finally:
        ray.shutdown()  # cancels what still runs


def _ended(running: dict[Any, Job]) -> list[Any]:
    """The tasks that have ended, after a short wait."""
    if not running:
        time.sleep(SECONDS)
        return []
    ended: list[Any] = ray.wait(list(running), timeout=SECONDS)[0]
    return ended


def _connect(context: Context) -> None:
    try:
        _knock(context.cluster)
        with kept():
            ray.init(context.cluster, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise UserError(
            f"--cluster takes auto or the HOST:PORT of a Ray cluster that this machine is part of; {context.cluster!r} gave "
            f"{type(error).__name__}: {' '.join(str(error).split())} Start one with `ray start --head`."
        ) from error
    had: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]
    for kind, needed in NEEDS[context.device].items():
        if had.get(kind, 0) < needed:
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


def _work(number: int, packed: bytes, shared: _Shared, data: Dataset | None) -> list[Record]:
    """A task, on its node: the job, with plugins and data from the object store."""
    torch.set_num_threads(1)
    board = shared.board
    board.begin.remote(number)
    steps = Throttled(lambda taken: board.add.remote(number, taken))
    with tempfile.TemporaryDirectory() as folder:
        plugins = tuple(_written(name, text, folder) for name, text in shared.plugins.items())
        registry = Registry(plugins)
        for path in plugins:
            sys.modules[shared.modules[path.name]] = registry.own[
                path.stem
            ]  # as the parts of the job name it
        job: Job = cloudpickle.loads(packed)
        given = {job.cell.benchmark.settings["dataset"]: data} if data else {}
        context = shared.context._replace(
            plugins=plugins, data=given, jobs=_together(shared.context.device)
        )
        records = [
            _as_sent(record, job, shared.plugins).public
            for record in run_job(job, registry, context, steps)
        ]
    steps.flush()
    ray.get(board.total.remote())  # it has been told all
    return records


def _as_sent(record: Record, job: Job, plugins: Collection[str]) -> Record:
    """The record with the driver's files of the plugins that were sent; all others are the node's own."""
    sent = job.code.sources if job.code else {}
    of_plugins = {
        role: files
        for role, files in sent.items()
        if role != "model" and next(iter(files), "") in plugins
    }
    return replace(record, sources=record.sources | of_plugins)


def _written(name: str, text: str, folder: str) -> Path:
    path = Path(folder, name)
    path.write_text(text, encoding="utf-8")
    return path


def _together(device: str) -> int:
    """How many jobs this node has at a time, at most."""
    here = ray.get_runtime_context().get_node_id()
    had = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)  # type: ignore[no-untyped-call, unused-ignore]
    return min(int(had.get(kind, 0) // needed) for kind, needed in NEEDS[device].items())


def _records(task: Any, job: Job, context: Context) -> list[Record]:
    try:
        records: list[Record] = ray.get(task)
    except RayTaskError as error:
        return failed(
            job,
            f"Its node could not begin: {type(error.cause).__name__}: {error.cause}",
            _own(context),
        )
    except RayError as error:
        lost = f"Its worker or its node was lost, {RETRIES + 1} times; the last time Ray said {type(error).__name__}."
        return failed(job, f"{lost} `ray logs` has more.", _own(context))
    return records


def _own(context: Context) -> Context:
    """The driver's, which may have no GPU."""
    return context._replace(device="cpu")
