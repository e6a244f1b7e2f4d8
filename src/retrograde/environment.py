"""Where a record comes from: machine and versions; and the memory a process used."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def environment(device: torch.device) -> dict[str, Any]:
    """The machine, the threads, the versions and the commit, for the record."""
    return {**_machine(), "device": _device(device), "threads": torch.get_num_threads()}


@cache
def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("retrograde", "torch", "numpy")},
        "commit": _commit(),
    }


def usable_cores() -> int:
    """The cores that this process, or the container that it is in, may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share, period = (*_of_container("cpu.max"), "max", "1")[:2]
    return cores if share == "max" else max(1, min(cores, int(share) // int(period)))


def physical_bytes() -> int:
    """The memory of the machine, or of the container; where that is unknown, as if it had plenty."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = 2**40
    (limit,) = (*_of_container("memory.max"), "max")[:1]
    return found if limit == "max" else min(found, int(limit))


def _of_container(name: str) -> list[str]:
    """What Linux (cgroup 2) says of a limit; nothing, where there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="ascii").split()
    except OSError:
        return []


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout that this package lies in, with `+` where files differ; empty outside of one."""
    here = Path(__file__).parent
    try:
        top = Path(_git(here, "rev-parse", "--show-toplevel"))
        if not (top / "src" / "retrograde" / "__init__.py").is_file():
            return ""
        changed = _git(top, "status", "--porcelain", "--untracked-files=no", "--", "src", "strategies", "benchmarks")
        return _git(top, "rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of the peak memory, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int:
    """The most memory that was in use since `reset_peak`: of the GPU's tensors, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0
