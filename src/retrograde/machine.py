"""The machine: cores, memory, and the most memory that was in use."""

import os
from pathlib import Path

import torch


def usable_cores() -> int:
    """The cores that this process, or the container that it is in, may use."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
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
