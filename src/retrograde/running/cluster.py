"""Jobs on a Ray cluster: a job is a Ray task, and its records come back to the driver."""

import logging
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import torch

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.parts.plugins import known_as, module_name
from retrograde.parts.provenance import beside
from retrograde.parts.registry import Registry
from retrograde.records.record import Record
from retrograde.running.cell import Job, dataset
from retrograde.running.interruption import kept
from retrograde.running.jobs import Ended, Jobs, Supply, Told, failed, run_job
from retrograde.running.plan import Context
from retrograde.running.workers import Throttled
from retrograde.training.clocks import News

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise UserError(
        f"--cluster needs the package ray, which does not import ({error}). Install it: "
        "pip install -c constraints.txt ray."
    ) from error

NEEDS = {"cpu": {"CPU": 1}, "cuda": {"CPU": 1, "GPU": 1}}
"""Resources that a job takes of its node, by device."""
RETRIES = 3
"""Most further tries of a job whose worker or node was lost."""
SECONDS = 0.2
"""Seconds between two updates of the steps taken."""


class Board:
    """Actor with the steps and the phase of each job; a job that begins again counts from 0."""

    def __init__(self) -> None:
        self.steps: Counter[int] = Counter()
        self.phases: dict[int, str] = {}

    def begin(self, job: int) -> None:
        """Count a job from 0, since a worker has begun it."""
        self.steps[job] = 0

    def add(self, job: int, news: News) -> None:
        """Add steps to a job, or note its phase."""
        if isinstance(news, int):
            self.steps[job] += news
        else:
            self.phases[job] = news

    def all(self) -> tuple[dict[int, int], dict[int, str]]:
        """Return the steps and the phases of all jobs by their numbers."""
        return self.steps, self.phases


class _Shared(NamedTuple):
    """Arguments that all tasks of a run share.

    Args:
        context: the settings of the run, without plugins and data.
        plugins: by the name of each plugin's file, the contents of that file and of those that it
            imports from its folder, by their paths in the folder.
        modules: module name of each plugin on the driver, by the name of its file.
        board: the actor that counts steps.
    """

    context: Context
    plugins: dict[str, dict[str, bytes]]
    modules: dict[str, str]
    board: Any


class _Crew:
    """The cluster as jobs see it: it starts their tasks with what they need, and counts steps."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._needs = NEEDS[context.device]
        remote = ray.remote(
            num_cpus=self._needs["CPU"], num_gpus=self._needs.get("GPU", 0), max_retries=RETRIES
        )
        self._task = remote(_work)
        self._board = _board()
        plugins = {path.name: beside(path) for path in context.plugins}
        modules = {path.name: module_name(path) for path in context.plugins}
        sent = context._replace(plugins=(), data={})
        # Plugins and each dataset go into the object store, from where a node has them once.
        self._shared = ray.put(_Shared(sent, plugins, modules, self._board))
        self._data: dict[str, Any] = {}
        self._numbers = count()
        self._jobs: dict[int, Job] = {}
        self._told: dict[int, tuple[int, str]] = {}  # steps and phase of each job so far

    def room(self) -> int:
        """Number of jobs that are worth submitting."""
        had = _resources()
        at_once = min(int(had.get(kind, 0) // needed) for kind, needed in self._needs.items())
        # As many jobs wait as run: a cluster that can grow does so for those that wait.
        return 2 * max(1, at_once)

    def start(self, job: Job) -> Any:
        """Submit a job, and return its task."""
        name = str(job.spec.benchmark.settings.get("dataset", ""))
        if name and name not in self._data:
            self._data[name] = ray.put(dataset(name, self.context.data))
        number = next(self._numbers)
        self._jobs[number] = job
        packed = cloudpickle.dumps(job)
        return self._task.remote(number, packed, self._shared, self._data.get(name))

    def end(self, job: Job) -> None:
        """Tell no more of a job."""
        self._jobs = {number: each for number, each in self._jobs.items() if each is not job}

    def tell(self, told: Told) -> None:
        """Tell what is new about each job."""
        steps, phases = ray.get(self._board.all.remote())
        for number, job in self._jobs.items():
            before = self._told.get(number, (0, ""))
            now = (steps.get(number, 0), phases.get(number, ""))
            if now[1] != before[1]:
                told(job, now[1])
            # A job that begins again counts from 0, so that this may be negative.
            told(job, now[0] - before[0])
            self._told[number] = now


def run_on_cluster(jobs: Jobs, context: Context, told: Told) -> Ended:
    """Run jobs as Ray tasks; a job whose worker or node is lost begins again on another."""
    supply = Supply(jobs)
    running: dict[Any, Job] = {}
    _connect(context)
    try:
        crew = _Crew(context)
        while running or not supply.ended:
            _submit(supply, crew, running)
            ended = _ended(running)
            crew.tell(told)
            for task in ended:
                job = running.pop(task)
                crew.end(job)
                yield job, _records(task, job, context)
    finally:
        ray.shutdown()  # cancels what still runs


def _submit(supply: Supply, crew: _Crew, running: dict[Any, Job]) -> None:
    """Submit jobs while there is room, and add their tasks to those that run."""
    room = crew.room()
    while len(running) < room:
        job = supply.take()
        if job is None:
            break
        running[crew.start(job)] = job


def _ended(running: dict[Any, Job]) -> list[Any]:
    """Return the tasks that have ended, after a short wait."""
    if not running:
        time.sleep(SECONDS)
        return []
    ended: list[Any] = ray.wait(list(running), timeout=SECONDS)[0]
    return ended


def _connect(context: Context) -> None:
    try:
        _knock(context.cluster)
        # Ray sets signal handlers of its own.
        with kept():
            ray.init(context.cluster, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        said = " ".join(str(error).split())
        raise UserError(
            "--cluster takes auto or the HOST:PORT of a Ray cluster that this machine is part of; "
            f"{context.cluster!r} gave {type(error).__name__}: {said} "
            "Start one with `ray start --head`."
        ) from error
    had = _resources()
    for kind, needed in NEEDS[context.device].items():
        if had.get(kind, 0) < needed:
            ray.shutdown()
            raise UserError(
                f"--device {context.device} needs a {kind} in the cluster; {context.cluster} has "
                "none. Add a node with one, "
                f"`ray start --address HOST:PORT --num-{kind.lower()}s 1`, or choose another "
                "--device."
            )


def _resources() -> dict[str, float]:
    """Return the resources of all nodes, by kind."""
    had: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]
    return had


def _knock(address: str) -> None:
    """Raise `OSError` if nothing listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _board() -> Any:
    """Start a board on the driver's own node, so that it is lost only with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()


def _work(number: int, packed: bytes, shared: _Shared, data: Dataset | None) -> list[Record]:
    """Run a job on its node, with plugins and data from the object store."""
    # A job takes one CPU of its node: see NEEDS.
    torch.set_num_threads(1)
    board = shared.board
    board.begin.remote(number)
    steps = Throttled(lambda news: board.add.remote(number, news))
    with tempfile.TemporaryDirectory() as folder:
        plugins = tuple(_written(name, files, folder) for name, files in shared.plugins.items())
        registry = Registry(plugins)
        # Unpickling looks for the parts of the job in the modules that they have on the driver.
        for path in plugins:
            known_as(registry.own[path.stem], shared.modules[path.name])
        job: Job = cloudpickle.loads(packed)
        datasets = {job.spec.benchmark.settings["dataset"]: data} if data else {}
        at_once = _together(shared.context.device)
        context = shared.context._replace(plugins=plugins, data=datasets, jobs=at_once)
        made = run_job(job, registry, context, steps)
        records = [_as_sent(record, job, shared.plugins).public for record in made]
    steps.flush()
    # The board handles calls in their order: its answer means that it has counted all steps.
    ray.get(board.all.remote())
    return records


def _as_sent(record: Record, job: Job, plugins: Collection[str]) -> Record:
    """Return the record with the driver's files of the plugins; other files are the node's own."""
    sent = job.sources
    # A model of an import path is no part, even if its file is called like a plugin.
    imported = ":" in str(job.spec.benchmark.settings.get("model", ""))
    of_plugins = {
        role: files
        for role, files in sent.items()
        if not (role == "model" and imported) and next(iter(files), "") in plugins
    }
    return replace(record, sources=record.sources | of_plugins)


def _written(name: str, files: dict[str, bytes], folder: str) -> Path:
    """Write a plugin and the files that it imports into a folder of their own."""
    own = Path(folder, Path(name).stem)
    for file, content in files.items():
        path = own / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return own / name


def _together(device: str) -> int:
    """Most jobs that this node runs at a time."""
    here = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call, unused-ignore]
    had = next(node["Resources"] for node in nodes if node["NodeID"] == here)
    return min(int(had.get(kind, 0) // needed) for kind, needed in NEEDS[device].items())


def _records(task: Any, job: Job, context: Context) -> list[Record]:
    """Return the records of a task that has ended; failed ones if it was lost."""
    try:
        records: list[Record] = ray.get(task)
    except RayTaskError as error:
        cause = f"{type(error.cause).__name__}: {error.cause}"
        return failed(job, f"Its node could not begin: {cause}", _own(context))
    except RayError as error:
        lost = (
            f"Its worker or its node was lost, {RETRIES + 1} times; the last time Ray said "
            f"{type(error).__name__}."
        )
        return failed(job, f"{lost} `ray logs` has more.", _own(context))
    return records


def _own(context: Context) -> Context:
    """Context for the driver's own environment, which may have no GPU."""
    return context._replace(device="cpu")
