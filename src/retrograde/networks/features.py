"""Features of a frozen network: a dataset of images becomes one of vectors, once."""

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn.functional import interpolate

from retrograde.data.cache import cache_folder, keep
from retrograde.data.dataset import Dataset
from retrograde.data.files import arrays
from retrograde.errors import UserError
from retrograde.networks.build import build
from retrograde.networks.calls import output_layer
from retrograde.networks.head import has_features, headless
from retrograde.parts.author_code import guarded
from retrograde.parts.deadline import untimed

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""The mean and standard deviation of ImageNet's channels, for which networks were trained."""

SIDE = 224
"""The sides of the images that a network gets, in pixels."""

CHUNK = 8
"""The number of images that are embedded at once; more no longer fit into a core's cache."""

BLOCK = 2000
"""The number of images whose features are kept together, until all are computed."""


def embedded(data: Dataset, model: str, weights: str = "") -> Dataset:
    """The dataset with the features of every example in place of its image.

    Images are resized to 224 x 224 pixels and normalised as those of ImageNet; grey ones get three
    equal channels. The features are kept in the user's cache folder, also those of a part of the
    images if the computation is interrupted.

    Args:
        data: The dataset of images.
        model: The network, as `retrograde.model` takes it; its features are the inputs of its last
            layer, in evaluation mode.
        weights: The path of its weights; empty: those that it is built with.

    Raises:
        UserError: The examples are no images, or the network cannot be built or called.
    """
    if len(data.shape) != 3 or data.shape[0] not in (1, 3):
        raise UserError(
            "Features are those of images with one or three channels; the examples of "
            f"{data.name} have shape {data.shape}, and features={model}. Leave out features."
        )
    body = _body(model, weights)
    path = cache_folder() / f"features-{data.digest}-{_digest(body)}.npz"
    # A file that is not there, or damaged.
    with suppress(UserError):
        return _like(data, _read(path))
    if not weights and _digest(_body(model, weights, seed=1)) != _digest(body):
        raise UserError(
            f"Features are those of a pretrained network; features={model} is built with random "
            "weights. Give features_weights=PATH."
        )
    parts = path.with_suffix("")
    found = _computed(data, body, model, parts)
    keep(path, lambda file: np.savez(file, **found.arrays))
    rmtree(parts, ignore_errors=True)
    with suppress(UserError):
        return _like(data, _read(path))
    return found


def _like(data: Dataset, features: Dataset) -> Dataset:
    """The dataset with features in place of its examples."""
    return replace(
        data,
        x_train=features.x_train,
        x_test=features.x_test,
        x_val=features.x_val,
        scale=1.0,
    )


@lru_cache(maxsize=1)
def _read(path: Path) -> Dataset:
    """The features of a file of the cache, which all replicates share."""
    return arrays(path)


def _body(model: str, weights: str, seed: int = 0) -> nn.Module:
    """The network without its last layer, in evaluation mode.

    Args:
        model: The network.
        weights: The path of its weights; empty: those that it is built with.
        seed: The seed of random weights, which a pretrained network has none of.
    """
    shape = (3, SIDE, SIDE)
    module = build(model, shape, outputs=2, seed=seed, running=True, weights=weights or None)
    with guarded(f"features={model} cannot be taken of images"):
        body = headless(module) if has_features(module, torch.zeros(2, *shape)) else None
    if body is None:
        body = module
        # Networks of other libraries call their last layer otherwise: fc, classifier.6.
        with guarded(f"features={model} cannot be taken of images"):
            layer = output_layer(body, shape)
        if not layer:
            raise UserError(
                "Features are the inputs of the layer that gives a network's outputs; in "
                f"features={model} forward goes on after every layer. Give one whose last layer "
                "is an nn.Module, or that has a module named head."
            )
        body.set_submodule(layer, nn.Identity())
    for parameter in body.parameters():
        if parameter.ndim == 4:
            # Convolutions on a CPU take two thirds of the time with channels last.
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return body.eval()


def _digest(body: nn.Module) -> str:
    """Twelve hexadecimal digits of the tensors of a network."""
    content = hashlib.sha256()
    for name, value in sorted(body.state_dict().items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(np.ascontiguousarray(value.numpy()).tobytes())
    return content.hexdigest()[:12]


def _computed(data: Dataset, body: nn.Module, model: str, parts: Path) -> Dataset:
    """The features of all examples, with progress on the terminal.

    Args:
        data: The dataset of images.
        body: The network.
        model: Its name.
        parts: The folder for the features of blocks of images.
    """
    x_of = {name: x for name, x in data.arrays.items() if name.startswith("x_")}
    total = sum(map(len, x_of.values()))
    # It may take an hour, in a check that has ten minutes for other work.
    with untimed(), Progress(transient=True) as progress:
        bar = progress.add_task(f"{data.name} through {model}", total=total)

        def of_block(x: np.ndarray) -> Float32[np.ndarray, "n feature"]:
            chunks = []
            for start in range(0, len(x), CHUNK):
                chunks.append(_features(body, x[start : start + CHUNK], data.scale, model))
                progress.advance(bar, CHUNK)
            return np.concatenate(chunks)

        def features(name: str, x: np.ndarray) -> Float32[np.ndarray, "n feature"]:
            blocks = []
            for start in range(0, len(x), BLOCK):
                path = parts / f"{name}-{start}.npy"
                block = _kept(path)
                if block is None:
                    block = of_block(x[start : start + BLOCK])
                    keep(path, partial(np.save, arr=block))
                blocks.append(block)
            return np.concatenate(blocks)

        found: dict[str, Any] = {name: features(name, x) for name, x in x_of.items()}
    return _like(data, replace(data, **found, scale=1.0))


def _kept(path: Path) -> Float32[np.ndarray, "n feature"] | None:
    """The features of a block that an interrupted computation has left; None without any."""
    try:
        block: np.ndarray = np.load(path)
    except (OSError, ValueError):  # it is not there, or damaged
        return None
    return block


def _features(
    body: nn.Module, x: np.ndarray, scale: float, model: str
) -> Float32[np.ndarray, "n feature"]:
    """The features of some images."""
    images = torch.from_numpy(x * np.float32(scale)).expand(-1, 3, -1, -1)
    images = interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad(), guarded(f"features={model} cannot be taken of images"):
        found: object = body((images - mean) / std)
    if not isinstance(found, Tensor):
        raise UserError(
            f"A network gives its features as a tensor; features={model} gave a "
            f"{type(found).__name__}."
        )
    return found.flatten(1).float().numpy()
