"""The training step of every strategy.

Split MNIST, ten incoming examples a step, MLP 784-100-100-10, every strategy with its defaults: the time of
the third task, with its schedule and its end, over its mini-batches of incoming examples. So penalties,
projections and memories are at work, and all that a strategy does for ten examples counts.
Avalanche's classes learn the same tasks, with memories of the same size. How replay compares with
loops in plain PyTorch is a section of its own.
"""

import numpy as np
import pytest
import torch
from labels import FILES, TENSORS, avalanches, ours
from replay_in_avalanche import benchmark as in_avalanche
from torch.nn.functional import cross_entropy

from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder, load
from retrograde.data.torchvision import import_torchvision
from retrograde.interface.learner import StreamInfo
from retrograde.interface.strategy import Strategy
from retrograde.models._mlp import mlp
from retrograde.parts.registry import Registry
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.running.cell import CPU, StreamCell
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
BATCH, STEPS = 10, 100
FOUND = {name: PARTS.find("strategies", name) for name in PARTS.names("strategies")}
PURE = {
    name: PARTS.get("strategies", name)
    for name, part in FOUND.items()
    if issubclass(part, Strategy)
}
PRETRAINED = [name for name, strategy in PURE.items() if strategy.pretraining()]
AVALANCHES = {
    "agem": ("AGEM", {"patterns_per_exp": 40, "sample_size": 128}),
    "der": ("DER", {"mem_size": 200, "batch_size_mem": 10, "alpha": 0.5, "beta": 0.0}),
    "derpp": ("DER", {"mem_size": 200, "batch_size_mem": 10, "alpha": 0.5, "beta": 0.5}),
    "er": ("Replay", {"mem_size": 200}),
    "er_ace": ("ER_ACE", {"mem_size": 200, "batch_size_mem": 10}),
    "ewc": ("EWC", {"ewc_lambda": 100}),
    "finetune": ("Naive", {}),
    "gdumb": ("GDumb", {"mem_size": 200}),
    "gem": ("GEM", {"patterns_per_exp": 40}),
    "gss": ("GSS_greedy", {"mem_size": 200, "mem_strength": 10, "input_size": [1, 28, 28]}),
    "icarl": ("ICaRL", {"memory_size": 200, "buffer_transform": None, "fixed_memory": True}),
    "incremental_joint": ("Cumulative", {}),
    "lamaml": (
        "lamaml_v2.LaMAML",
        {"max_buffer_size": 200, "n_inner_updates": 10, "second_order": False},
    ),
    "lwf": ("LwF", {"alpha": 1.0, "temperature": 2.0}),
    "mas": ("MAS", {}),
    "mer": ("MER", {"mem_size": 200}),
    "mir": ("MIR", {"mem_size": 200, "subsample": 50, "batch_size_mem": 10}),
    "online_ewc": ("EWC", {"ewc_lambda": 100, "mode": "online", "decay_factor": 1.0}),
    "rwalk": ("RWalkPlugin", {}),
    "si": ("SynapticIntelligence", {"si_lambda": 1.0}),
}
"""Avalanche's equivalents of ours."""


PACE = {"gdumb": (30, 16)}
"""The epochs and the batch of a strategy that sets these itself."""


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", data_folder())


def split(scenario="class"):
    return PARTS.get(
        "benchmarks",
        "split",
        {"dataset": "mnist", "train_examples": str(BATCH * STEPS), "scenario": scenario},
    )


@pytest.mark.parametrize("examples", [BATCH, 2 * BATCH])
def test_the_bare_loop(measure, floor, mnist, examples):
    model = mlp((784,), 10, 100, 100)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    parts = mnist.x_train[: examples * STEPS] / np.float32(255), mnist.y_train[: examples * STEPS]
    batches = list(zip(*(torch.from_numpy(part).split(examples) for part in parts), strict=True))

    def loop():
        for x, y in batches:
            sgd.zero_grad()
            cross_entropy(model(x), y).backward()
            sgd.step()

    name = f"bare loop, {examples} examples"
    measure(name, loop, floor(name, loop, STEPS), things=STEPS)


STREAMED = [(name, True, 1) for name in PURE if name not in PRETRAINED]
OTHER_MODES = [("finetune", True, 5), ("finetune", False, 1), ("finetune", False, 5)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "compiled", "replicates"), [*STREAMED, *OTHER_MODES])
def test_a_step(measure, floors, mnist, name, compiled, replicates):
    benchmark = split("class" if "class" in PURE[name].scenarios else "task")
    seeds = list(range(replicates))
    backend = StreamReplicas(
        benchmark, PURE[name], [benchmark.stream(mnist, seed) for seed in seeds], seeds, CPU
    )
    backend.warm_up("on" if compiled else "off")
    for number in range(2):
        backend.learn(number, lambda _: None)
    carried, held = backend.carried, list(backend.memories.held)

    def start():
        backend.carried, backend.memories.held, backend.begun = carried, list(held), 1

    def learn():
        backend.learn(2, lambda _: None)

    least = floors("bare loop, 20 examples") if name == "er" else {}
    measure(
        ours(name, compiled, replicates),
        learn,
        against(name) | least,
        things=STEPS * replicates,
        setup=start,
    )


def against(name):
    """The bare loop on as many examples, fine-tuning, and Avalanche's equivalent."""
    names = ["bare loop, 10 examples"]
    if name != "finetune":
        names.append(ours("finetune", True, 1))
    if name in AVALANCHES:
        names += [theirs(name, source) for source in (TENSORS, FILES)]
    return dict.fromkeys(names)


def theirs(name, source):
    return avalanches(f"{AVALANCHES[name][0]} as {name}", source)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("source", [TENSORS, FILES])
@pytest.mark.parametrize("name", AVALANCHES)
def test_avalanches(measure, mnist, name, source):
    import_torchvision()
    pytest.importorskip("avalanche")
    from retrograde.strategies._avalanche import build
    from retrograde.strategies.avalanche import quiet

    stream = split().stream(mnist, 0)
    terms = StreamInfo("class", stream.units, *PACE.get(name, (1, BATCH)), "sgd")
    chosen, arguments = AVALANCHES[name]
    *before, third = in_avalanche(source, stream).train_stream[:3]
    assert len(third.dataset) == BATCH * STEPS

    def start():
        strategy = build(chosen, arguments, 0.1, terms, mlp((1, 28, 28), 10, 100, 100))
        for experience in before:
            strategy.train(experience, eval_streams=[], num_workers=0)
        return (strategy,), {}

    def learn(strategy):
        strategy.train(third, eval_streams=[], num_workers=0)

    with quiet():
        measure(theirs(name, source), learn, things=STEPS, setup=start, rounds=2, warmup_rounds=0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["finetune", *PRETRAINED])
def test_a_pretraining_step_and_a_step_after_it(state, name):
    """On noise of Omniglot's size, for its content takes no time."""
    random = np.random.default_rng(0)
    noise = Dataset(
        "noise",
        *[random.integers(0, 255, (600, 1, 28, 28), np.uint8), np.repeat(np.arange(60), 10)] * 2,
    )
    settings = {
        "split": "40,10,10",
        "test_after": "10",
        "pretraining_steps": "20",
        "test_examples": "1",
        "probe_examples": "0",
    }
    settings |= {"model": "gated-plainconv-32"} if name == "anml" else {}
    benchmark = PARTS.get("benchmarks", "omniglot_sequence", settings)
    cell = StreamCell(CellSpec(PartSpec("", {}), PartSpec("", {}), ""), benchmark, PURE[name])
    (outcome,) = cell.train(noise, [0], CPU, "off", lambda _: None)
    state(
        a_step(name), outcome.clocks["train"] / outcome.counts["steps"], {a_step("finetune"): None}
    )
    if name in PRETRAINED:
        state(
            a_pretraining_step(name),
            outcome.clocks["pretrain"] / benchmark.pretraining_steps,
            {a_pretraining_step("pretrained"): None},
        )


def a_step(name):
    return ours(f"{name}, a step on Omniglot", False, 1)


def a_pretraining_step(name):
    return ours(f"{name}, a pretraining step before Omniglot", False, 1)
