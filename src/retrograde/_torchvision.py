"""The import of torchvision."""

import importlib
from types import ModuleType
from typing import Any


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
