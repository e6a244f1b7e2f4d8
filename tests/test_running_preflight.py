"""What is checked before a run: every error that a cell on its own would raise, though cells that are alike share a check."""

import pytest

from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.records.store import Store
from retrograde.running.cell import EpisodeCell, StreamCell
from retrograde.running.plan import Context, plan

STREAM = "split:tasks=2,train_examples=20,test_examples=20,model=mlp-4"
PICKY = """
from dataclasses import dataclass
from retrograde.parts.fields import Rate
from retrograde.interface.strategy import Strategy

@dataclass(frozen=True)
class Picky(Strategy):
    lr: Rate = 0.1
    pull: float = 0.5
    many: int = 3
    def step(self, net, state, data):
        if {fault}:
            raise RuntimeError("on purpose")
        return state
"""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plan strategies on one benchmark; returns the jobs and what was checked."""
    checked = []
    for kind in (StreamCell, EpisodeCell):
        whole = kind.check
        monkeypatch.setattr(
            kind,
            "check",
            lambda cell, data, device, whole=whole: (
                checked.append(cell.strategy),
                whole(cell, data, device),
            )[1],
        )

    def planned(*strategies, benchmark=STREAM, plugins=()):
        pairs = [(benchmark, each) for each in strategies]
        return plan(pairs, 1, Registry(plugins), Context(), Store(tmp_path / "store")), checked

    return planned


@pytest.fixture
def picky(tmp_path):
    """A plugin whose step raises where a Python expression is true."""

    def written(fault):
        path = tmp_path / "picky.py"
        path.write_text(PICKY.format(fault=fault))
        return (path,)

    return written


def test_cells_that_differ_in_the_size_of_a_number_are_checked_at_its_ends(planned):
    rates = (0.3, 0.1, 0.5, 0.2, 0.4)
    jobs, checked = planned(*(f"er:lr={lr},buffer_size=10" for lr in rates))
    assert [job.spec.strategy.settings["lr"] for job in jobs] == list(rates)
    assert [strategy.lr for strategy in checked] == [0.3, 0.1, 0.5]


@pytest.mark.parametrize("settings", ["buffer_size=11", "policy=balanced", "lr=1", "lr=2"])
def test_cells_that_differ_in_anything_else_or_across_1_are_checked_each(planned, settings):
    _, checked = planned("er:lr=0.1,buffer_size=10", f"er:{settings}")
    assert len(checked) == 2


def test_meta_strategies_share_checks_too(planned):
    sinusoid = "sinusoid:iterations=4,meta_batch_size=2,test_tasks=3,evaluations=1,model=mlp-4"
    _, checked = planned(*(f"maml:inner_lr={lr}" for lr in (0.01, 0.02, 0.03)), benchmark=sinusoid)
    assert [strategy.inner_lr for strategy in checked] == [0.01, 0.03]


FAULTS = {
    "below a bound": ("self.lr < 0.15", ("lr=0.4", "lr=0.3", "lr=0.1")),
    "above a bound": ("self.lr > 0.35", ("lr=0.3", "lr=0.4", "lr=0.1")),
    "at 0": ("self.pull == 0", ("pull=0.1", "pull=0", "pull=-1")),
    "at 1": ("self.pull == 1", ("pull=0.1", "pull=1", "pull=2")),
    "of another number": ("self.pull < 0.2", ("lr=0.1", "lr=0.2,pull=0.1", "lr=0.3")),
    "at a whole number": ("self.many == 2", ("many=1", "many=2", "many=3")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_one_cell_among_alike_ones_is_raised_before_anything_trains(
    planned, picky, fault
):
    when, cells = FAULTS[fault]
    with pytest.raises(UserError, match="picky.* cannot be set up for split.*on purpose"):
        planned(*(f"picky:{cell}" for cell in cells), plugins=picky(when))


def test_a_memory_that_follows_from_a_number_is_compared(planned, picky):
    plugins = picky("False")
    text = (
        plugins[0]
        .read_text()
        .replace(
            "    def step",
            "    def memory(self): return Reservoir(int(10 * self.lr), 1)\n    def step",
        )
    )
    plugins[0].write_text("from retrograde.streams.memory import Reservoir\n" + text)
    _, checked = planned(
        "picky:lr=0.2", "picky:lr=0.21", "picky:lr=0.3", "picky:lr=0.4", plugins=plugins
    )
    assert [strategy.lr for strategy in checked] == [0.2, 0.21, 0.3, 0.4]
    checked.clear()
    planned("picky:lr=0.2", "picky:lr=0.21", "picky:lr=0.22", plugins=plugins)
    assert [strategy.lr for strategy in checked] == [0.2, 0.22]


def test_a_learner_is_like_no_other(planned, tmp_path):
    (tmp_path / "free.py").write_text(LEARNER)
    _, checked = planned(
        "free:lr=0.1", "free:lr=0.2", "free:lr=0.3", plugins=(tmp_path / "free.py",)
    )
    assert len(checked) == 3


LEARNER = """
from dataclasses import dataclass
from retrograde.interface.learner import Learner

@dataclass
class Free(Learner):
    lr: float = 0.1
    def setup(self, model): self.model = model
    def observe(self, x, y, task): pass
    def predict(self, x, task): return self.model(x)
"""


def test_the_steps_of_a_cell_are_those_of_the_cells_like_it(planned):
    jobs, _ = planned("joint:lr=0.1", "joint:lr=0.2", "joint:lr=0.3", "finetune")
    assert [job.steps for job in jobs] == [6, 6, 6, 4]


def test_a_strategy_that_does_not_fit_is_an_error_unless_it_was_added_to_a_suite(tmp_path):
    few_shot = "fewshot:iterations=1,test_tasks=1,evaluations=1"
    pairs = [(STREAM, "finetune"), (few_shot, "maml"), (STREAM, "maml")]

    def planned(pairs, added=()):
        return plan(pairs, 1, Registry(), Context(), Store(tmp_path), added=added)

    with pytest.raises(UserError, match="MAML learns from few-shot tasks"):
        planned(pairs)
    assert len(planned(pairs, added=["maml"])) == 2
    with pytest.raises(UserError, match="maml was added, and no benchmark of the suite takes it"):
        planned([(STREAM, "finetune"), (STREAM, "maml")], added=["maml"])
