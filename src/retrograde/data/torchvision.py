"""Datasets that torchvision downloads."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from retrograde.errors import UserError


def not_had(
    what: str,
    folder: Path,
    inside: str,
    files: str,
    error: Exception,
) -> UserError:
    """The error for a dataset that is not in the data folder and cannot be downloaded.

    Args:
        what: The name of the dataset.
        folder: The data folder.
        inside: The folder of the dataset inside the data folder.
        files: The files that belong there, in words.
        error: The reason why the download failed.
    """
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(
        f"{what} could not be had. Looked in {folder.resolve() / inside}, then tried to download "
        f"it there: {reason} Put {files} there, or set "
        f"RETROGRADE_DATA to the folder that holds {inside}."
    )


def import_torchvision() -> ModuleType:
    """Import torchvision, even if its wheel's operators do not load with a CPU-only torch."""
    import torch

    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        # Its Python code registers fake versions of these operators, which must exist by then.
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision")
