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
    """The machine, the threads, the versions and the commit, as a record has them."""
    return {**_machine(), "device": device_name(device), "threads": torch.get_num_threads()}


@cache
def _machine() -> dict[str, Any]:
    versions = {name: version(name) for name in ("retrograde", "torch", "numpy")}
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
        "commit": _commit(),
    }


def device_name(device: torch.device) -> str:
    """The model of a GPU; otherwise `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def cpu_name() -> str:
    """The model of the processor."""
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def cpu_instructions() -> str:
    """The sets of instructions of the processor, as Linux lists them; empty elsewhere.

    Processors of one name differ in them where a virtual machine hides some.
    """
    # The second name is that of ARM.
    return _cpu_entry("flags") or _cpu_entry("Features")


def _cpu_entry(name: str) -> str:
    """An entry of the first processor in Linux's list; empty if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    entry = next((line for line in lines if line.startswith(name)), "")
    return entry.partition(":")[2].strip()


def _commit() -> str:
    """The commit of the checkout that holds this package; empty outside of one.

    It ends with `+` if files differ from the commit.
    """
    here = Path(__file__).parent
    try:
        top = Path(_git(here, "rev-parse", "--show-toplevel"))
        # A package that is installed inside some other checkout is not of its commit.
        if not (top / "src" / "retrograde" / "__init__.py").is_file():
            return ""
        status = ("status", "--porcelain", "--untracked-files=no")
        changed = _git(top, *status, "--", "src", "strategies", "benchmarks")
        commit = _git(top, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout.strip()
