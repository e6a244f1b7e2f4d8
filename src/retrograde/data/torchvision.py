"""Datasets that torchvision downloads."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from retrograde.errors import UserError


def not_had(what: str, folder: Path, inside: str, files: str, error: Exception) -> UserError:
    """What to raise where a dataset is neither inside the data folder nor to be downloaded."""
    return UserError(
        f"{what} could not be had. Looked in {folder.resolve() / inside}, then tried to download it there: "
        f"{type(error).__name__}: {' '.join(str(error).split())} Put {files} there, or name the folder "
        f"that holds {inside} with --data or RETROGRADE_DATA."
    )


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its wheel's operators do not load beside a CPU-only torch."""
    import torch

    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision")
