"""Claims: hidden files beside the records that say who trains what, so that several runs share one store.

A claim is created exclusively, which file systems guarantee, networked ones too. Its holder changes its text every few seconds.
It is void where its process has ended, as far as that can be seen from here, or where its text has stayed the same for a minute
of the observer's own clock: no two machines' clocks are compared.

Claims of one replicate are numbered. Who takes over one that is void creates that with the next number, exclusively again, and
then looks once more; of two who do so at the same time with different views at least one sees the other, and gives way.
"""

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
"""Seconds between two signs of life."""
EXPIRY = 60.0
"""Seconds without a sign of life after which a claim is void."""
_NAME = re.compile(r"\.seed-(\d+)\.claim-(\d+)")


class Holder(NamedTuple):
    """The process that holds a claim."""

    host: str = "an unknown host"
    machine: str = ""  # what its process ids are unique within; empty where that is unknown
    pid: int = 0
    started: str = ""  # since the machine was: a process id may be used again
    token: str = ""

    @property
    def text(self) -> str:
        """The holder in words."""
        return f"process {self.pid} on {self.host}"


class Answer(NamedTuple):
    """A claim is ours, with those whose void ones it takes over, or it is others', with those."""

    ours: bool
    others: list[Holder]


class _File(NamedTuple):
    path: Path
    seed: int
    number: int


class Claims:
    """The claims that this process holds, and what it has seen of those of others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._me = _this_process()
        self._clock = clock
        self._held: dict[tuple[Path, int], Path] = {}  # by folder and seed
        self._lost: set[tuple[Path, int]] = set()
        self._seen: dict[
            Path, tuple[bytes, float]
        ] = {}  # texts of others, and since when they are the same
        self._beats = 0
        self._lock = threading.Lock()  # held while a claim of ours is changed or removed
        self._end = threading.Event()
        self._heart: threading.Thread | None = None

    def claim(self, folder: Path, seeds: Iterable[int]) -> Answer:
        """Claim replicates of the cell whose records lie in a folder: all of them or none."""
        seeds = tuple(seeds)
        folder.mkdir(parents=True, exist_ok=True)
        found = list(_files(folder, seeds))
        if alive := self._alive(found):
            return Answer(ours=False, others=alive)
        for seed in seeds:
            number = 1 + max((file.number for file in found if file.seed == seed), default=0)
            if not self._create(folder, seed, folder / f".seed-{seed}.claim-{number}"):
                self.release(folder, seeds)
                return Answer(ours=False, others=[])
        if rivals := self._alive(_files(folder, seeds)):
            self.release(folder, seeds)
            return Answer(ours=False, others=rivals)
        # Nobody else touches claims that are void while we hold one with a higher number.
        left = {self._holder(file.path) for file in found}
        for file in found:
            self._seen.pop(file.path, None)
            file.path.unlink(missing_ok=True)
        return Answer(ours=True, others=sorted(holder for holder in left if holder))

    def release(self, folder: Path, seeds: Iterable[int]) -> None:
        """Give up claims, if they are ours still."""
        for seed in seeds:
            with self._lock:
                path = self._held.pop((folder, seed), None)
                if path is not None and self._me.token.encode() in (_text(path) or b""):
                    path.unlink(missing_ok=True)

    def sweep(self, folder: Path, seeds: Iterable[int]) -> None:
        """Remove claims that are void: their holder ended between writing records and giving up the claim."""
        seeds = tuple(seeds)
        if any(_files(folder, seeds)) and self.claim(folder, seeds).ours:
            self.release(folder, seeds)

    def lost(self, folder: Path, seed: int) -> bool:
        """True where another process has taken over a claim of ours, since ours showed no sign of life for long."""
        return (folder, seed) in self._lost

    def close(self) -> None:
        """Give up all claims."""
        self._end.set()
        for folder, seed in list(self._held):
            self.release(folder, [seed])

    def beat(self) -> None:
        """Show a sign of life in every claim; one that is no longer there, or another's, is lost."""
        self._beats += 1
        for key in list(self._held):
            with (
                self._lock,
                suppress(OSError),
            ):  # a server that does not answer now may do so the next time
                if path := self._held.get(key):
                    self._renew(key, path)

    def _renew(self, key: tuple[Path, int], path: Path) -> None:
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
        """The text of our claims now; always of the same length, so that it can be overwritten."""
        return json.dumps({**self._me._asdict(), "beat": f"{self._beats:012}"}).encode()

    def _create(self, folder: Path, seed: int, path: Path) -> bool:
        """Create a claim of ours; False where there is one."""
        self._live()
        self._held[folder, seed] = path  # first: an interruption then releases it
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
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat_on, daemon=True, name="claims")
            self._heart.start()

    def _beat_on(self) -> None:
        while not self._end.wait(BEAT):
            self.beat()

    def _alive(self, files: Iterable[_File]) -> list[Holder]:
        """The holders of those claims that are neither ours nor void."""
        own = set(self._held.values())
        others = [file.path for file in files if file.path not in own]
        return sorted({self._holder(path) or Holder() for path in others if not self._void(path)})

    def _holder(self, path: Path) -> Holder | None:
        return _parsed(self._seen.get(path, (b"", 0.0))[0])

    def _void(self, path: Path) -> bool:
        text = _text(path)
        if text is None:
            self._seen.pop(path, None)
            return True  # it has been released
        now = self._clock()
        before, since = self._seen.get(path, (None, now))
        self._seen[path] = text, since if text == before else now
        holder = _parsed(text)
        if holder and holder.machine and holder.machine == self._me.machine:
            state = _state(holder)
            if state != "stopped":
                return state == "ended"
        return text == before and now - since > EXPIRY


def _create_exclusively(whole: Path, path: Path) -> None:
    """Create a file with the text of another; raises `FileExistsError` where there is one."""
    try:
        os.link(whole, path)  # it is never there without its text, even if we are killed now
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with path.open("xb") as file:
            file.write(whole.read_bytes())


def _files(folder: Path, seeds: tuple[int, ...]) -> Iterator[_File]:
    """The claims on these replicates that lie in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found and int(found[1]) in seeds:
                yield _File(folder / entry.name, int(found[1]), int(found[2]))


def _text(path: Path) -> bytes | None:
    """The text of a claim, None where there is none; opening it makes a network file system ask the server."""
    try:
        return read_shared(path)
    except FileNotFoundError:
        return None


_HOLDER = TypeAdapter(Holder)


def _parsed(text: bytes) -> Holder | None:
    """The holder that a text names; None where it is being written, or was never finished."""
    try:
        said = json.loads(text)
        return _HOLDER.validate_python({name: said[name] for name in Holder._fields})
    except (ValueError, TypeError, KeyError, ValidationError):
        return None


def _this_process() -> Holder:
    pid = os.getpid()
    return Holder(socket.gethostname(), _machine(), pid, _stat(pid)[1], secrets.token_hex(8))


def _machine() -> str:
    """Identifies a boot of a machine and a namespace of process ids, which each container may have; Linux only."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _state(holder: Holder) -> str:
    """What a process of this machine does: it lives, it is stopped, or it has ended."""
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return "ended"
    except PermissionError:
        pass  # another user's
    letter, started = _stat(holder.pid)
    if letter in ("Z", "X") or (letter and started != holder.started):
        return "ended"
    return "stopped" if letter in ("T", "t") else "alive"


def _stat(pid: int) -> tuple[str, str]:
    """The state of a process, and when it started; empty where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    words = text.rpartition(")")[2].split()  # the name before may hold anything
    return words[0], words[19]
