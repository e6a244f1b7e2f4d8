"""Claims: hidden files next to the records, so that runs that share a store divide the work."""

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from retrograde.records.store import NO_LINKS, read_shared

BEAT = 5.0
"""Seconds between two signs of life of a holder."""
EXPIRY = 60.0
"""Seconds without a sign of life after which a claim is void."""
_NAME = re.compile(r"\.seed-(\d+)\.claim-(\d+)")


class Holder(NamedTuple):
    """The process that holds a claim."""

    host: str = "an unknown host"
    # Identifies the scope within which process ids are unique; empty where it is unknown.
    machine: str = ""
    pid: int = 0
    # Time since the machine started: it tells apart processes that use one id in turn.
    started: str = ""
    token: str = ""

    @property
    def text(self) -> str:
        """A description of the holder."""
        return f"process {self.pid} on {self.host}"


class Answer(NamedTuple):
    """The outcome of a claim.

    If it is ours, `others` are the holders of void claims that it takes over; otherwise they are
    the holders of the claims in its way.
    """

    ours: bool
    others: list[Holder]


class _File(NamedTuple):
    """The file of a claim, and the replicate's seed and the claim's number in its name."""

    path: Path
    seed: int
    number: int


class Claims:
    """The claims that this process holds, and what it has seen of those of others.

    A claim states which process trains a replicate. It is created exclusively, which file systems
    guarantee, networked ones included. Its holder changes its text every few seconds. A claim is
    void if its process has ended, as far as that is visible from here, or if its text has stayed
    the same for a minute of the observer's own clock: clocks of two machines are never compared.

    Claims of one replicate are numbered. A process that takes over a void claim creates the one
    with the next number, exclusively again, and then looks once more. Of two that do so at the same
    time with different views, at least one sees the other and withdraws.

    Args:
        clock: the time in seconds, from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._me = _this_process()
        self._clock = clock
        # By folder and seed.
        self._held: dict[tuple[Path, int], Path] = {}
        self._lost: set[tuple[Path, int]] = set()
        # Texts of others' claims, and the time since which each is the same.
        self._seen: dict[Path, tuple[bytes, float]] = {}
        self._beats = 0
        # Held while a claim of ours is changed or removed.
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._heart: threading.Thread | None = None

    def claim(
        self,
        folder: Path,
        seeds: Iterable[int],
    ) -> Answer:
        """Claim replicates of the cell with records in a folder: all of them or none."""
        seeds = tuple(seeds)
        folder.mkdir(parents=True, exist_ok=True)
        before = list(_files(folder, seeds))
        alive = self._alive(before)
        if alive:
            return Answer(ours=False, others=alive)
        if not self._create_all(folder, seeds, before):
            self.release(folder, seeds)
            return Answer(ours=False, others=[])
        # Another process may have claimed the same replicates by other numbers meanwhile.
        rivals = self._alive(_files(folder, seeds))
        if rivals:
            self.release(folder, seeds)
            return Answer(ours=False, others=rivals)
        return Answer(ours=True, others=self._remove(before))

    def _create_all(
        self,
        folder: Path,
        seeds: tuple[int, ...],
        before: list[_File],
    ) -> bool:
        """Create a claim with the next number for each replicate; False once one is taken."""
        for seed in seeds:
            numbers = [file.number for file in before if file.seed == seed]
            number = 1 + max(numbers, default=0)
            if not self._create(folder, seed, folder / f".seed-{seed}.claim-{number}"):
                return False
        return True

    def _remove(self, files: list[_File]) -> list[Holder]:
        """Remove void claims, and name their holders."""
        # Nobody else touches claims that are void while we hold one with a higher number.
        holders = {self._holder(file.path) for file in files}
        for file in files:
            self._seen.pop(file.path, None)
            file.path.unlink(missing_ok=True)
        return sorted(holder for holder in holders if holder)

    def release(
        self,
        folder: Path,
        seeds: Iterable[int],
    ) -> None:
        """Give up claims, if they are still ours."""
        for seed in seeds:
            with self._lock:
                path = self._held.pop((folder, seed), None)
                # A process that thought our claim void may have taken it over.
                if path is not None and self._me.token.encode() in (_text(path) or b""):
                    path.unlink(missing_ok=True)

    def sweep(
        self,
        folder: Path,
        seeds: Iterable[int],
    ) -> None:
        """Remove void claims.

        Their holder ended after it wrote the records and before it gave up the claim.
        """
        seeds = tuple(seeds)
        if any(_files(folder, seeds)) and self.claim(folder, seeds).ours:
            self.release(folder, seeds)

    def lost(self, folder: Path, seed: int) -> bool:
        """True if another process has taken over a claim of ours.

        It may do so if ours has shown no sign of life for long.
        """
        return (folder, seed) in self._lost

    def close(self) -> None:
        """Give up all claims."""
        self._end.set()
        for folder, seed in list(self._held):
            self.release(folder, [seed])

    def beat(self) -> None:
        """Show a sign of life in every claim; a claim that is gone, or another's, is lost."""
        self._beats += 1
        for key in list(self._held):
            # A server that does not answer now may do so the next time.
            with self._lock, suppress(OSError):
                path = self._held.get(key)
                if path:
                    self._renew(key, path)

    def _renew(
        self,
        key: tuple[Path, int],
        path: Path,
    ) -> None:
        """Rewrite the text of a claim of ours, or note that it is lost."""
        try:
            with path.open("r+b") as file:
                if self._me.token.encode() in file.read():
                    file.seek(0)
                    file.write(self._said())
                    return
        except FileNotFoundError:
            pass
        self._lost.add(key)

    def _said(self) -> bytes:
        """The current text of our claims.

        Its length is always the same, so that it can be overwritten.
        """
        fields = {**self._me._asdict(), "beat": f"{self._beats:012}"}
        return json.dumps(fields).encode()

    def _create(
        self,
        folder: Path,
        seed: int,
        path: Path,
    ) -> bool:
        """Create a claim of ours; False if the file exists."""
        self._live()
        # Noted before it is created, so that an interruption releases it.
        self._held[folder, seed] = path
        whole = folder / f".{self._me.token}.tmp"
        try:
            whole.write_bytes(self._said())
            _create_exclusively(whole, path)
        except FileExistsError:
            del self._held[folder, seed]
            return False
        finally:
            whole.unlink(missing_ok=True)
        return True

    def _live(self) -> None:
        """Start the thread of signs of life, unless it runs."""
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat_on, daemon=True, name="claims")
            self._heart.start()

    def _beat_on(self) -> None:
        while not self._end.wait(BEAT):
            self.beat()

    def _alive(self, files: Iterable[_File]) -> list[Holder]:
        """The holders of those claims that are neither ours nor void."""
        ours = set(self._held.values())
        others = [file.path for file in files if file.path not in ours]
        # `_void` reads the text in which `_holder` then finds the name.
        alive = (path for path in others if not self._void(path))
        return sorted({self._holder(path) or Holder() for path in alive})

    def _holder(self, path: Path) -> Holder | None:
        """The holder of a claim as it was last seen."""
        text, _ = self._seen.get(path, (b"", 0.0))
        return _parsed(text)

    def _void(self, path: Path) -> bool:
        """True if a claim was released, or its holder has ended or shows no sign of life."""
        text = _text(path)
        if text is None:
            self._seen.pop(path, None)
            return True
        now = self._clock()
        before, since = self._seen.get(path, (None, now))
        self._seen[path] = (text, since if text == before else now)
        holder = _parsed(text)
        if holder and holder.machine and holder.machine == self._me.machine:
            state = _state(holder)
            # A stopped process shows no sign of life, and its claim expires like a remote one.
            if state != "stopped":
                return state == "ended"
        return text == before and now - since > EXPIRY


def _create_exclusively(whole: Path, path: Path) -> None:
    """Create a file with the text of another; raises `FileExistsError` if it exists."""
    try:
        # With a link the file never exists without its text, even if we are killed now.
        os.link(whole, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with path.open("xb") as file:
            file.write(whole.read_bytes())


def _files(
    folder: Path,
    seeds: tuple[int, ...],
) -> Iterator[_File]:
    """The claims on these replicates that lie in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and int(match[1]) in seeds:
                yield _File(folder / entry.name, seed=int(match[1]), number=int(match[2]))


def _text(path: Path) -> bytes | None:
    """The text of a claim; None if there is none."""
    try:
        # Opening the file makes a network file system ask the server.
        return read_shared(path)
    except FileNotFoundError:
        return None


_HOLDER = TypeAdapter(Holder)


def _parsed(text: bytes) -> Holder | None:
    """The holder that a text names; None if the text is not complete, yet or for ever."""
    try:
        fields = json.loads(text)
        return _HOLDER.validate_python({name: fields[name] for name in Holder._fields})
    except (ValueError, TypeError, KeyError, ValidationError):
        return None


def _this_process() -> Holder:
    pid = os.getpid()
    _, started = _stat(pid)
    return Holder(socket.gethostname(), _machine(), pid, started, token=secrets.token_hex(8))


def _machine() -> str:
    """An identifier of this boot of the machine and of the namespace of process ids.

    Each container may have a namespace of its own. The text is empty except on Linux.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        return f"{boot}-{namespace}"
    except OSError:
        return ""


def _state(holder: Holder) -> str:
    """The state of a process of this machine: "alive", "stopped" or "ended"."""
    try:
        # Signal 0 only tests that the process exists.
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return "ended"
    except PermissionError:
        # The process exists, and is another user's.
        pass
    letter, started = _stat(holder.pid)
    # Another start means that another process uses the id now; Z and X are dead processes.
    if letter in ("Z", "X") or (letter and started != holder.started):
        return "ended"
    return "stopped" if letter in ("T", "t") else "alive"


def _stat(pid: int) -> tuple[str, str]:
    """The state letter and the start time of a process; empty where the system has neither."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    # The process name before the last parenthesis may hold anything.
    words = text.rpartition(")")[2].split()
    return words[0], words[19]
