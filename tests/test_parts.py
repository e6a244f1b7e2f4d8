"""Every part x every check: adding a file to one of the folders adds its tests."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from dataclasses import is_dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from retrograde.contract.claims import verdict
from retrograde.contract.strategies import checks_of, train_briefly, works_in
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy
from retrograde.networks.build import build, extent
from retrograde.networks.checks import check_module
from retrograde.parts.kinds import KINDS
from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_pairs, parse, write
from retrograde.streams.stream import Scenario

PARTS = Registry()
ALL = [(kind, name) for kind in KINDS for name in PARTS.names(kind)]
NEEDS = {"avalanche": "avalanche"}  # the package that a part imports when it is used
GIVEN = {
    ("models", "conv4"): {"width": "4"},
    ("models", "plainconv"): {"width": "4"},
    ("models", "gated"): {"model": "mlp-4"},
    ("models", "mlpdropout"): {"dropout": "0.25", "hidden": "5,6"},
    ("models", "resnet18"): {"width": "4"},
    ("models", "resnet18gn"): {"width": "4"},
    ("models", "resnet18nonorm"): {"width": "4"},
}
"""Settings without a default, and small widths."""


def at_hand(name):
    return name not in NEEDS or find_spec(NEEDS[name]) is not None


STRATEGIES = [name for name in PARTS.names("strategies") if at_hand(name)]
ELSEWHERE = ("given", "sequence", "stream", "waves")
"""Benchmarks that need more than the digits, or other data: tasks, datasets, a file, or values."""
STREAMS = [
    name
    for name in PARTS.names("benchmarks")
    if issubclass(PARTS.find("benchmarks", name), Benchmark)
    and at_hand(name)
    and name not in ELSEWHERE
]
SCENARIOS = get_args(Scenario)
BRIEF = {
    "gdumb": {"epochs": 5},  # over its whole memory, after every experience
    "hal": {"anchor_steps": 10},
    "mer": {"batches": 2, "replay_batch": 2},  # a step for every replayed example
    "ranpac": {"projection": 200},  # the size of a system that each evaluation solves
}
"""Settings of slow strategies in these tests: amounts, on which no claim depends."""
ON_DIGITS = {
    "omniglot_sequence": {"split": (5, 1, 4), "test_after": (2, 4)},
    "mnist360": {"rounds": 2},
}
"""Settings of a benchmark that has ten classes only."""


def strategy_of(name):
    return PARTS.get("strategies", name, BRIEF.get(name, {}))


@pytest.mark.parametrize(
    ("name", "check"),
    [(name, check) for name in STRATEGIES for check in checks_of(strategy_of(name))],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_strategy_keeps_the_contract(name, check):
    outcome = verdict(strategy_of(name), check)
    assert outcome.outcome != "failed", outcome.why


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    "name",
    [name for name in STRATEGIES if not issubclass(PARTS.find("strategies", name), MetaStrategy)],
)
def test_every_strategy_works_in_a_scenario_or_declares_that_it_does_not(name, scenario):
    outcome = works_in(strategy_of(name), scenario)
    assert outcome.outcome != "failed", outcome.why


UNBOUND = [
    name
    for name in STRATEGIES
    if not issubclass(PARTS.find("strategies", name), MetaStrategy)
    and strategy_of(name).needs_boundaries() == "none"
    # These streams have no other classes to learn from before.
    and not (isinstance(strategy_of(name), Strategy) and strategy_of(name).pretraining())
]
"""The strategies that claim to need no boundary."""
BOUNDARY_FREE = [
    name
    for name in STREAMS
    if PARTS.get("benchmarks", name, ON_DIGITS.get(name, {})).boundaries == "unknown"
]


@pytest.mark.parametrize("stream", BOUNDARY_FREE)
@pytest.mark.parametrize("name", UNBOUND)
def test_strategies_that_need_no_boundary_train_on_every_stream_without(name, stream):
    data = load("digits", Path())
    benchmark = PARTS.get("benchmarks", stream, ON_DIGITS.get(stream, {}))
    strategy = strategy_of(name)
    if strategy.contract_model != "mlp-16" or strategy.views > 1:
        benchmark = replace(benchmark, model="conv")
    train_briefly(strategy, benchmark, benchmark.stream(data, 0))


def test_there_are_strategies_and_streams_without_boundaries():
    assert {"er", "derpp", "gss", "lamaml"} <= set(UNBOUND)
    assert {"gradual", "online", "mnist360"} == set(BOUNDARY_FREE)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_part_is_a_documented_dataclass_with_defaults(kind, name):
    part = PARTS.find(kind, name)
    assert is_dataclass(part)
    assert inspect.getdoc(part)
    given = GIVEN.get((kind, name), {})
    assert as_pairs(PARTS.get(kind, name, given).overrides()) == as_pairs(given)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_setting_survives_being_written_and_parsed(kind, name):
    part = PARTS.get(kind, name, GIVEN.get((kind, name)))
    text = write(name, part.settings())
    again = PARTS.get(kind, *parse(text))
    assert again.settings() == part.settings()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", STREAMS)
def test_every_benchmark_gives_the_same_stream_again_and_another_for_another_seed(name, scenario):
    data, benchmark = (
        load("digits", Path()),
        PARTS.get("benchmarks", name, {"scenario": scenario, **ON_DIGITS.get(name, {})}),
    )
    first, again, other = (_content(benchmark.stream(data, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def _content(stream):
    parts = [*stream.experiences, *(part for task in stream.tasks for part in task)]
    columns = [array.tobytes() for part in parts for array in part if array is not None]
    return columns, None if stream.pixels is None else stream.pixels.tobytes()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", STREAMS)
def test_every_label_of_every_task_is_one_of_its_units(name, scenario):
    settings = {"scenario": scenario, **ON_DIGITS.get(name, {})}
    stream = PARTS.get("benchmarks", name, settings).stream(load("digits", Path()), 0)
    for number, units in enumerate(stream.units):
        own = [each.y[each.task == number] for each in stream.experiences]
        for labels in (np.concatenate(own), stream.tasks[number].test.y):
            assert set(np.unique(labels)) == set(np.flatnonzero(units))
    shared = stream.units.sum(axis=0).max()
    assert shared == (len(stream.tasks) if scenario == "domain" else 1)


IMAGES_ALONE = tuple(
    name for name in PARTS.names("models") if name.startswith(("conv", "plainconv", "resnet"))
)
RUNNING = ("mlpbn", "conv4", "resnet18", "resnet32")
"""Models whose buffers change in training on streams."""
SHAPES = {"vector": (7,), "image": (1, 12, 10)}
MODELS = [
    (name, shape)
    for name in PARTS.names("models")
    if name != "efficientnet_lite0"  # a package of its own has it
    for shape in SHAPES
    if shape == "image" or name not in IMAGES_ALONE
]


def named(model):
    """A small model of a kind, as a benchmark names it."""
    sizes = {"mlp": {"hidden": "5-6"}, "mlpbn": {"hidden": "5-6"}}.get(model, {})
    given = GIVEN.get(("models", model), sizes)
    return "-".join([model, *given.values()]).replace(",", "-")


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(("name", "shape"), MODELS)
def test_every_model_gives_a_row_of_outputs_for_each_example(name, shape, running):
    module = build(named(name), SHAPES[shape], 5, seed=0, running=running)
    x = torch.rand(3, *SHAPES[shape])
    assert module(x).shape == (3, 5)
    assert check_module(module, x, 5) == (running and name in RUNNING)


@pytest.mark.parametrize(("name", "shape"), MODELS)
def test_every_model_follows_from_its_seed(name, shape):
    one, again, other = (
        build(named(name), SHAPES[shape], 5, seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("name", "shape"), MODELS)
def test_every_model_has_a_linear_head_and_is_measured_without_memory(name, shape):
    module = build(named(name), SHAPES[shape], 5, seed=0)
    assert isinstance(module.head, torch.nn.Linear)
    numbers = sum(value.numel() for value in module.parameters())
    size = extent(named(name), SHAPES[shape], 5)
    assert (size.parameters, size.activations >= 5) == (numbers, True)


@pytest.mark.parametrize("name", IMAGES_ALONE)
def test_a_model_for_images_refuses_vectors(name):
    with pytest.raises(UserError, match=f"model={named(name)} needs images"):
        build(named(name), SHAPES["vector"], 5, seed=0)


HERE = Path(os.environ.get("RETROGRADE_DATA", "/nowhere"))
DOWNLOADED = {
    "mnist": "MNIST/raw/*",
    "fashion_mnist": "FashionMNIST/raw/*",
    "kmnist": "KMNIST/raw/*",
    "emnist": "EMNIST/raw/*",
    "svhn": "*_32x32.mat",
    "cifar10": "cifar-10-batches-py/*",
    "cifar100": "cifar-100-python/*",
    "stl10": "stl10_binary/*",
    "omniglot": "omniglot-py/images_evaluation*",
    "cifar10_jpeg": "cifar10-jpeg*",
    "tiny_imagenet": "tiny-imagenet-200*",
    "cub200": "CUB_200_2011*",
    "core50": "core50_128x128*",
    "core50_categories": "core50_128x128*",
    "imagenet_r": "imagenet-r*",
}


@pytest.mark.parametrize("name", PARTS.names("datasets"))
def test_every_dataset_bears_its_name_and_is_the_same_again(name):
    if name in DOWNLOADED and not [*HERE.glob(DOWNLOADED[name])]:
        pytest.skip("RETROGRADE_DATA does not hold it")
    data = load(name, HERE)
    assert data.name == name
    assert data.digest == load(name, HERE).digest


def test_the_data_of_no_file_are_imported_before_they_are_loaded():
    found = "; ".join(f"Registry().find('datasets', {name!r})" for name in PARTS.names("datasets"))
    code = (
        f"import sys; from retrograde.parts.registry import Registry; {found}; print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"retrograde.datasets.digits", "numpy"} <= set(out.stdout.split())
    assert {"sklearn", "torchvision"}.isdisjoint(out.stdout.split())


FOLDERS = [Path(__file__).parents[1] / kind for kind in KINDS]
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]
PUBLIC = (
    "retrograde",
    "retrograde.data",
    "retrograde.metrics",
    "retrograde.reporting",
    "retrograde.bridges.avalanche",
)


def house_imports(path):
    """The modules of the suite that a file imports, each with a name that it takes from there."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (
                (alias.name, "")
                for alias in node.names
                if alias.name.partition(".")[0] == "retrograde"
            )
        elif (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "retrograde"
        ):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_part_imports_public_names_and_its_siblings_alone(path):
    foreign = [module for module, _ in house_imports(path) if module not in PUBLIC]
    assert [
        module for module in foreign if not module.startswith(f"retrograde.{path.parent.name}")
    ] == []
    for module, name in house_imports(path):
        if module in PUBLIC[:4]:
            assert name in importlib.import_module(module).__all__


def test_a_strategy_is_read_in_130_lines():
    sizes = {
        path.stem: len(path.read_text(encoding="utf-8").splitlines())
        for path in FILES
        if path.parent.name == "strategies" and not path.stem.startswith("_")
    }
    assert sizes.keys() == set(PARTS.names("strategies"))
    assert [name for name, size in sizes.items() if size > 130] == []


def test_an_import_of_the_engine_would_be_seen(tmp_path):
    (tmp_path / "part.py").write_text(
        "from retrograde.training.clocks import Clocks\nimport retrograde.cli\n"
    )
    assert [module for module, _ in house_imports(tmp_path / "part.py")] == [
        "retrograde.training.clocks",
        "retrograde.cli",
    ]
