"""Weights of a model from a file."""

import hashlib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retrograde.errors import UserError, shown
from retrograde.networks.calls import output_layer
from retrograde.networks.head import of_head
from retrograde.parts.author_code import described
from retrograde.paths import home_path

SHOWN = 3
"""Number of tensors that an error names."""
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of batch normalisation that exist only if it keeps running statistics."""
WRAPPERS = ("state_dict", "model")
"""Names under which training code saves the weights beside other things."""
PARALLEL = "module."
"""The prefix that `nn.DataParallel` puts before every name."""


def load_weights(
    module: nn.Module, path: str | Path, shape: tuple[int, ...] | None = None
) -> list[str]:
    """Give a module the weights of a file.

    The head, the layer that gives the outputs or the one named `head`, keeps its own weights if the
    file has none for it, or has them for another number of classes. Everything else must fit.

    Args:
        module: The module, whose parameters and buffers change.
        path: A state dict that `torch.save` has written, or a `.safetensors` file. Names may begin
            with `module.`, and the state dict may stand under `state_dict` or `model`.
        shape: The shape of one example, with which the module is tried to find its head; None: the
            last layer with parameters that the module names is taken for it.

    Returns:
        The names of the head's tensors that keep their own values; empty if all are from the file.

    Raises:
        UserError: There is no such file, it holds something else, or its tensors do not fit.
    """
    found = _read(Path(path))
    own = module.state_dict()
    head = _head(module, shape)
    _check_fit(own, found, head, path)
    kept = [name for name in own if name in head and not _fits(own, found, name)]
    with torch.no_grad():
        for name, value in own.items():
            if name in found and name not in kept:
                value.copy_(found[name])
    return kept


def weights_digest(path: str | Path) -> str:
    """Twelve hexadecimal digits that identify the tensors of a file, whatever its format.

    Raises:
        UserError: There is no such file, or it holds something else.
    """
    content = hashlib.sha256()
    for name, value in sorted(_read(Path(path)).items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # NumPy has no bfloat16, but the bytes of every type.
        content.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:12]


def _head(module: nn.Module, shape: tuple[int, ...] | None) -> set[str]:
    """The names of the parameters of the module that gives the outputs."""
    names = [name for name, _ in module.named_parameters()]
    named = {name for name in names if of_head(name)}
    # Authors may call the last layer otherwise: fc, classifier.6.
    layer = last_layer(module) if shape is None else output_layer(module, shape)
    return named or {name for name in names if name.rpartition(".")[0] == layer}


def last_layer(module: nn.Module) -> str:
    """The name of the last layer with parameters that a module names; empty if there is none."""
    names = [name for name, _ in module.named_parameters()]
    return names[-1].rpartition(".")[0] if names else ""


def _fits(own: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> bool:
    return name in found and found[name].shape == own[name].shape


def _check_fit(
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    head: set[str],
    path: str | Path,
) -> None:
    """Raise `UserError` if tensors are missing, unknown or of other shapes, the head's apart."""
    missing = [name for name in own if name not in found.keys() | head and not _counts(name)]
    unknown = [name for name in found if name not in own and not _statistic(name)]
    misfit = [name for name in own if name in found and not _matches(own, found, name, head)]
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(own[name].shape)}" for name in misfit
    ]
    texts = [
        _named("missing", missing),
        _named("not of the model", unknown),
        _named("of other shapes", shapes),
    ]
    problems = "; ".join(filter(None, texts))
    if problems:
        raise UserError(
            "A file of weights has the tensors of the model, its head apart; "
            f"{shown(str(path))} does not fit: {problems}. Give the model that the weights were "
            "trained with."
        )


def _matches(
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    name: str,
    head: set[str],
) -> bool:
    """True if a tensor fits; that of a head may be for another number of classes."""
    first = 1 if name in head else 0
    same_axes = own[name].dim() == found[name].dim()
    return same_axes and own[name].shape[first:] == found[name].shape[first:]


def _statistic(name: str) -> bool:
    """True if a tensor is one that a model may do without if its normalisation keeps nothing."""
    return name.rpartition(".")[2] in STATISTICS


def _counts(name: str) -> bool:
    """True if a tensor is a count of batches, which old files lack and nothing depends on."""
    return name.endswith("num_batches_tracked")


def _named(problem: str, names: Iterable[str]) -> str:
    """A problem with the first names of the tensors that have it, and a count of the others."""
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{problem}: {', '.join(found[:SHOWN])}{more}" if found else ""


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU."""
    path = home_path(str(path))
    if not path.is_file():
        raise UserError(
            f"Weights are read from a file; there is none at {path.resolve()}. "
            "Give the path of a state dict that torch.save has written."
        )
    content: Any
    try:
        content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The weights in {shown(str(path))} cannot be read: {described(error)}. "
            "Save the weights alone: torch.save(model.state_dict(), 'weights.pt')."
        ) from error
    return _tensors(content, path)


def _pickled(path: Path) -> Any:
    try:
        # Without `weights_only`, a file could run any code.
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its text is about other arguments of `torch.load`
        raise UserError(
            f"Weights are a state dict that torch.save has written; {shown(str(path))} is no such "
            "file, or holds more than tensors, such as a whole model. "
            "Save the weights alone: torch.save(model.state_dict(), 'weights.pt')."
        ) from error


def _safetensors(path: Path) -> Any:
    try:
        library = importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise UserError(
            f"Weights in {shown(str(path))} need the package safetensors, which is not installed. "
            "Install it (pip install safetensors), or give a file that torch.save has written."
        ) from error
    return library.load_file(path)


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict inside a file, without the prefix of a parallel model."""
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    values = content.items() if isinstance(content, dict) else ()
    tensors = {str(name): value for name, value in values if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(values):
        raise UserError(
            f"A file of weights is a state dict, tensors by name; {shown(str(path))} holds "
            f"{_contents(content)}. Save them alone: "
            "torch.save(model.state_dict(), 'weights.pt')."
        )
    parallel = all(name.startswith(PARALLEL) for name in tensors)
    prefix = PARALLEL if parallel else ""
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _contents(content: Any) -> str:
    """The content of a file that is no state dict, in words."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    return f"other things: {', '.join(others[:SHOWN])}" if others else "nothing"
