"""Numbers that a user's code draws or keeps where the engine does not look."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import retrograde as rg
from retrograde.errors import UserError
from retrograde.networks.build import build, forget_files
from retrograde.training.replicas import stacked

X = torch.linspace(-1, 1, 18).reshape(3, 6)
NETS = """
import random
import numpy as np
import torch
from torch import nn

ONCE = np.random.randn(5).astype(np.float32)

class Net(nn.Linear):
    def __init__(self, shape, outputs):
        super().__init__(6, outputs)
        self.keep()
    def keep(self):
        pass
    def forward(self, x):
        return super().forward(x.flatten(1)[:, :6] * self.factor()) * torch.from_numpy(ONCE)[0]
    def factor(self):
        return 1.0

class NumPy(Net):
    def keep(self):
        self.weight.data = torch.tensor(np.random.randn(len(self.bias), 6) * random.random()).float()
class Unseeded(Net):
    def keep(self):
        self.weight.data = torch.tensor(np.random.default_rng().normal(size=(len(self.bias), 6))).float()
class Buffer(Net):
    def keep(self):
        self.register_buffer("kept", torch.randn(6))
    def factor(self):
        return self.kept
class Constant(Buffer):
    def keep(self):
        self.kept = torch.arange(6)
class Waiting(Net):
    def keep(self):
        self.register_buffer("kept", torch.full((6,), torch.nan))
        self.register_buffer("steps", torch.tensor(0))
class Attribute(Buffer):
    def keep(self):
        self.kept = torch.randn(6)
class InAList(Net):
    def keep(self):
        self.kept = [np.random.randn(6).astype(np.float32)]
    def factor(self):
        return torch.from_numpy(self.kept[0])
class Number(Buffer):
    def keep(self):
        self.kept = random.random()
class Closure(Net):
    def keep(self):
        kept = torch.randn(6)
        self.factor = lambda: kept
class Hidden(Attribute):
    def keep(self):
        super().keep()
        nn.init.zeros_(self.weight)
class Counted(Net):
    built = 0
    def keep(self):
        Counted.built += 1
    def factor(self):
        return self.made
    def __init__(self, shape, outputs):
        super().__init__(shape, outputs)
        self.made = float(Counted.built)
class Size(Net):
    def keep(self):
        self.more = nn.Linear(1, random.choice(range(1, 1000)))
"""


@pytest.fixture
def nets(tmp_path):
    forget_files()
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    yield path
    forget_files()


@pytest.mark.parametrize("name", ["Net", "NumPy", "Buffer", "Constant", "Waiting"])
def test_a_model_follows_from_its_seed_whatever_generator_draws(nets, name):
    models = stacked(f"{nets}:{name}", X, 2, [0, 1], torch.device("cpu"))
    first, second = models.params["weight"]
    assert not torch.equal(first, second)
    alone = stacked(f"{nets}:{name}", X, 2, [1], torch.device("cpu"))
    assert torch.equal(alone.params["weight"][0], second)


@pytest.mark.parametrize("name", ["Attribute", "InAList", "Number", "Closure", "Hidden", "Size"])
def test_a_model_that_hides_what_differs_between_seeds_is_refused(nets, name):
    with pytest.raises(UserError, match="computes something else.*self.register_buffer"):
        stacked(f"{nets}:{name}", X, 2, [0], torch.device("cpu"))


@pytest.mark.parametrize("strategy", ["finetune", "Learning"])
def test_weights_that_do_not_follow_from_the_seed_are_refused(nets, strategy):
    part = Learning() if strategy == "Learning" else strategy
    with pytest.raises(UserError, match="follow from the seed.*: weight.*default_rng"):
        rg.run(f"split:tasks=2,train_examples=20,model={nets}:Unseeded", part, 1, progress=False)


@pytest.mark.parametrize("strategy", ["finetune", "Learning"])
def test_a_number_that_counts_the_models_so_far_is_refused(nets, strategy):
    part = Learning() if strategy == "Learning" else strategy
    with pytest.raises(UserError, match="gives other outputs when it is built again with one seed"):
        rg.run(f"split:tasks=2,train_examples=20,model={nets}:Counted", part, 1, progress=False)


class Learning(rg.Learner):
    """A learner that needs no model."""

    def setup(self, model):
        self.model = model

    def observe(self, x, y, task):
        pass

    def predict(self, x, task):
        return self.model(x)


def test_numbers_that_are_drawn_on_import_are_the_same_in_every_process(nets):
    first = build(f"{nets}:Net", (6,), 2, 0)(X)
    forget_files()
    np.random.seed(5)
    assert torch.equal(build(f"{nets}:Net", (6,), 2, 0)(X), first)


@dataclass(frozen=True)
class DrawsInInit(rg.Strategy):
    """Draws by NumPy when it starts."""

    def init(self, net, params):
        return {"drawn": torch.tensor(np.random.rand())}

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), 0.1)


@dataclass(frozen=True)
class DrawsInStep(rg.Strategy):
    """Draws by NumPy in every step."""

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), np.random.rand())


@pytest.mark.parametrize("part", [DrawsInInit(), DrawsInStep()])
def test_a_strategy_that_draws_by_numpy_is_refused(part):
    with pytest.raises(UserError, match=r"Draws.*it gave other numbers. Draw them by net.uniform"):
        rg.run("split:tasks=2,train_examples=20", part, 1, progress=False)


@dataclass(frozen=True, kw_only=True)
class Shuffled(rg.Benchmark):
    """Classes in an order of NumPy's global generator."""

    def cut(self, data, seed):
        return rg.split_classes(data, np.split(np.random.permutation(10), 5), self.scenario)


def test_a_stream_that_is_drawn_by_numpy_follows_from_its_seed():
    one, other, again = (Shuffled().stream(seed=seed) for seed in (0, 1, 0))
    assert np.array_equal(one.units, again.units)
    assert not np.array_equal(one.units, other.units)
