"""Cells that would not fit into memory, or never end: refused by an estimate before anything of their size is allocated."""

from pathlib import Path

import pytest
import torch

from retrograde.errors import UserError
from retrograde.networks.build import build, extent
from retrograde.parts.registry import Registry
from retrograde.records.store import Store
from retrograde.running.cell import dataset
from retrograde.running.footprint import Need, check_memory, memory_of
from retrograde.running.plan import Context, plan
from retrograde.streams.schedule import probe_rows

CPU = torch.device("cpu")


def planned(benchmark, strategy="finetune"):
    return plan([(benchmark, strategy)], 5, Registry(), Context(), Store(Path("none")))


@pytest.mark.parametrize(
    ("stream", "strategy", "setting"),
    [
        ("split:steps=999999", "finetune", "Lower epochs, steps"),
        ("split:batch_size=1000000000", "finetune", "Lower batch"),
        ("split", "er:buffer_size=1000000000", "Lower buffer_size"),
        ("split", "agem:replay_batch=10000000", "what the strategy draws"),
        ("split:model=mlp-1000000-1000000", "finetune", "the model's sizes"),
        ("split:model=conv4-1000000,probe_examples=0", "er", "the model's sizes"),
        ("permuted:tasks=1000,train_examples=1,probe_examples=0", "finetune", "Lower tasks"),
        ("sinusoid:meta_batch_size=1000000000", "maml", "Lower meta_batch_size"),
        ("sinusoid:shots=1000000000", "maml", "shots, queries"),
        ("sinusoid:test_tasks=1000000000", "maml", "Lower test_tasks"),
        ("sinusoid:test_queries=1000000000", "maml", "test_queries"),
    ],
)
def test_a_cell_that_exceeds_the_memory_is_refused_with_the_setting_to_lower(
    monkeypatch, stream, strategy, setting
):
    monkeypatch.setattr("retrograde.running.footprint.physical_bytes", lambda: 10**8)
    with pytest.raises(
        UserError, match=r"A cell fits into memory, here 0\.1 GB; .* takes about .*"
    ) as refusal:
        planned(stream, strategy)
    assert setting in str(refusal.value)


@pytest.mark.parametrize(
    ("stream", "strategy", "rule"),
    [
        ("split:epochs=1000000000", "finetune", "at most 100000000 steps"),
        ("split:updates_per_batch=1000000000", "finetune", "at most 100000000 steps"),
        ("split", "gdumb:epochs=1000000000", "at most 100000000 steps"),
        ("sinusoid:iterations=1000000000", "maml", "at most 100000000 steps"),
        ("sinusoid", "maml:inner_steps=1001", "at most 1000"),
        ("permuted:tasks=1000000000", "finetune", "at most 10000 tasks"),
        (
            "split:epochs=1000",
            "er:buffer_size=100000,replay_batch=100000",
            "To draw 100000 different examples",
        ),
        (
            f"split:model={30 * 'gated-'}mlp-4",
            "finetune",
            "at most 4 others inside each other and 1000 layers",
        ),
        (
            f"split:model=mlp{5000 * '-1'}",
            "finetune",
            "at most 4 others inside each other and 1000 layers",
        ),
        ("split:warm_up=100", "finetune", "warm_up=100, and experience 1 takes 27 steps"),
        ("split:warm_up=200,schedule_over=stream", "finetune", "the stream takes 1.. steps"),
        ("split:schedule=step,milestones=5,30", "er", "milestone 30 comes after 30 steps"),
        (f"split:model=mlp-1{20 * '0'}", "finetune", "could not be built"),
    ],
)
def test_a_cell_beyond_a_stated_limit_is_refused(stream, strategy, rule):
    with pytest.raises(UserError, match=rule):
        planned(stream, strategy)


def test_the_tables_of_tasks_are_estimated_before_they_are_made(monkeypatch):
    for module in ("interface.benchmark", "streams.cuts"):
        monkeypatch.setattr(f"retrograde.{module}.physical_bytes", lambda: 10**6)
    for tasks, rule in (
        (2000, "The pixel tables of all tasks are in memory"),
        (100, "The rows of all tasks are kept in memory"),
    ):
        with pytest.raises(UserError, match=rule):
            Registry().get("benchmarks", "permuted", {"tasks": tasks}).stream(
                dataset("digits", Path()), 0
            )


def test_needs_that_fit_pass_and_one_byte_more_does_not():
    have = memory_of(CPU)
    assert check_memory([Need(have - 1, "a", "x"), Need(1, "b", "y")], CPU) == 1
    assert check_memory([Need(have // 4, "a", "x")], CPU) == 4
    assert (
        check_memory([Need(2 * have, "a", "x")], None) > 1000
    )  # on a cluster, whose memory is not known here
    with pytest.raises(UserError, match=r"are for a\. Lower x\."):
        check_memory([Need(have, "a", "x"), Need(1, "b", "y")], CPU)


@pytest.mark.parametrize(
    "spec", ["mlp-7-5", "mlpbn-6", "conv", "conv4-3", "plainconv-4", "gated-mlp-5"]
)
def test_the_extent_of_a_model_is_that_of_the_model_that_is_built(spec):
    shape = (2, 8, 9)
    module, found = build(spec, shape, 3, 0, running=True).eval(), extent(spec, shape, 3)
    assert found.parameters == sum(value.numel() for value in module.parameters())
    assert found.activations >= found.widest >= module(torch.zeros(1, *shape)).numel()


def test_a_model_of_any_size_is_measured_without_memory():
    assert extent("mlp-1000000-1000000", (1, 8, 8), 10).parameters > 10**12
    assert extent("none", (1, 8, 8), 10) == (0, 0, 0)


def test_probes_beyond_the_test_examples_take_them_all():
    data = dataset("digits", Path())
    stream = Registry().get("benchmarks", "split").stream(data, 0)
    rows = probe_rows(stream, 10**9, 0)
    assert rows.shape == (5, 2, len(data.y_test) // 2)
    assert [set(part[part.real].row) for part in rows] == [
        set(task.test.row) for task in stream.tasks
    ]
    assert probe_rows(stream, len(data.y_test), 0).tuples() == rows.tuples()
