"""The machine: its cores, its memory, and the peak memory in use."""

import os
from pathlib import Path

import torch


def usable_cores() -> int:
    """Number of cores that this process, or the container around it, may use."""
    # Windows and macOS have no affinity.
    every = os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else every
    share, period = (*_container_limit("cpu.max"), "max", "1")[:2]
    if share == "max":
        return cores
    return max(1, min(cores, int(share) // int(period)))


def physical_bytes() -> int:
    """Memory of the machine or of the container, in bytes; 2^40 if unknown."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = 2**40
    (limit,) = (*_container_limit("memory.max"), "max")[:1]
    return found if limit == "max" else min(found, int(limit))


def _container_limit(name: str) -> list[str]:
    """The words of a limit of Linux control groups (version 2); empty if there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="ascii").split()
    except OSError:
        return []


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of the peak memory, where the system supports it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # Writing 5 resets the peak resident set size, `VmHWM` (Linux, proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int:
    """Peak memory in bytes since `reset_peak`.

    On a GPU it is that of tensors, otherwise that of the whole process; 0 if unknown.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        peak = next(line for line in status if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024
    except (OSError, StopIteration):
        return 0
