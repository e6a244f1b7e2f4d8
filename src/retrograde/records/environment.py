"""The environment of a record: machine, threads and versions."""

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


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout that this package lies in, with `+` where files differ; empty outside of one."""
    here = Path(__file__).parent
    try:
        top = Path(_git(here, "rev-parse", "--show-toplevel"))
        if not (top / "src" / "retrograde" / "__init__.py").is_file():
            return ""
        changed = _git(
            top,
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            "src",
            "strategies",
            "benchmarks",
        )
        return _git(top, "rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *words], capture_output=True, text=True, check=True
    ).stdout.strip()
