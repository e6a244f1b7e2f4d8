"""How a cell is trained is chosen by a trial, and kept."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as some

from retrograde.contract.toys import Blobs, blobs
from retrograde.parts.registry import Registry
from retrograde.records.store import Store
from retrograde.running import autotune, console, jobs
from retrograde.running.autotune import ExecutionMode, Timing, TunedMode, fastest_mode
from retrograde.running.jobs import run_job, shared
from retrograde.running.plan import Context, plan
from retrograde.training import clocks, stream_loop
from retrograde.training.clocks import Throughput

CPU = torch.device("cpu")
EAGER, COMPILED = ExecutionMode(5, 1, False), ExecutionMode(5, 1, True)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(autotune.torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(autotune.torch, "set_num_threads", lambda _: None)
    return tmp_path / "retrograde" / "choices"


def paced(**ways):
    """The pace of each way, such as `eager5=(step, rest)` or `compiled1=(ready, rest)`; which were asked for is counted."""
    asked = Counter()

    def pace(count, mode):
        name = f"{'eager' if mode == 'off' else 'compiled'}{count}"
        asked[name] += 1
        first, rest = ways[name]
        return Throughput(0.1, first, rest) if mode == "off" else Throughput(first, 0.001, rest)

    return pace, asked


def test_short_training_is_plain_and_nothing_else_is_tried(cache):
    pace, asked = paced(eager5=(0.004, 4.0))
    assert fastest_mode(pace, 5, "cell").way == EAGER
    assert asked == {"eager5": 1}
    assert not cache.exists()


def test_long_training_is_compiled_and_the_choice_is_kept():
    pace, asked = paced(eager5=(0.004, 25.0), eager1=(0.002, 15.0), compiled5=(12.0, 5.0))
    first, second = (fastest_mode(pace, 5, "cell") for _ in range(2))
    assert first == second
    assert first.way == COMPILED
    assert first.tried == [
        Timing(EAGER, 0.1, 25.0),
        Timing(ExecutionMode(1, 1, False), 0.1, 75.0),
        Timing(COMPILED, 12.0, 5.0),
    ]
    assert asked == {"eager5": 1, "eager1": 1, "compiled5": 1}
    assert fastest_mode(paced(eager5=(0.004, 1.0))[0], 5, "another cell").way == EAGER


def test_compiling_is_not_tried_where_it_would_take_longer_than_it_saves():
    pace, asked = paced(eager5=(0.25, 100.0), eager1=(0.2, 19.0))  # 400 large steps
    assert fastest_mode(pace, 5, "cell").way == ExecutionMode(1, 1, False)
    assert asked["compiled5"] == 0


def test_compiling_is_not_tried_where_this_machine_compiled_too_slowly_just_before(monkeypatch):
    slow = {"eager5": (0.004, 25.0), "eager1": (0.002, 15.0), "compiled5": (41.0, 5.0)}
    pace, asked = paced(**slow)
    fastest_mode(pace, 5, "cell")
    assert fastest_mode(pace, 5, "another cell").way == EAGER
    assert asked["compiled5"] == 1
    monkeypatch.setattr(autotune, "SLOWDOWN_LASTS", 0.0)
    fastest_mode(pace, 5, "a cell of later")
    assert asked["compiled5"] == 2


def test_a_step_that_a_trial_has_compiled_is_trained_with_and_not_compiled_elsewhere():
    pace, _ = paced(eager5=(0.004, 25.0), eager1=(0.002, 15.0), compiled5=(41.0, 5.0))
    here, elsewhere = (fastest_mode(pace, 5, "cell").way for _ in range(2))
    assert here == COMPILED
    assert elsewhere == EAGER


def test_of_few_steps_none_are_spent_on_other_ways():
    pace, asked = paced(eager5=(10.0, 900.0))
    assert fastest_mode(pace, 5, "cell").way == EAGER
    assert asked == {"eager5": 1}


def test_a_compiled_step_that_is_slower_is_not_chosen():
    pace, _ = paced(eager5=(0.004, 25.0), eager1=(0.002, 15.0), compiled5=(12.0, 26.0))
    assert fastest_mode(pace, 5, "cell").way == EAGER


def test_very_long_training_is_also_compiled_one_by_one():
    pace, asked = paced(
        eager5=(0.03, 1000.0), eager1=(0.02, 800.0), compiled5=(20.0, 300.0), compiled1=(20.0, 50.0)
    )
    assert fastest_mode(pace, 5, "cell").way == ExecutionMode(1, 1, True)
    assert asked["compiled1"] == 1


def test_what_cannot_be_compiled_is_eager_says_why_and_is_tried_again(cache):
    def pace(count, mode):
        return Throughput(
            0.1, 0.004, 25.0, None if mode == "off" else "Compiling needs a C++ compiler."
        )

    choice = fastest_mode(pace, 5, "cell")
    assert not cache.exists()  # the compiler may be there the next time
    assert not choice.way.compiled
    assert choice.as_record({"note": None})["note"] == "Compiling needs a C++ compiler."
    assert not any(each.way.compiled for each in choice.tried)


def test_where_there_is_no_choice_all_train_together_with_nothing_to_tell():
    choice = fastest_mode(lambda *_: None, 3, "cell")
    assert (choice.way, choice.as_record({"note": None})) == (
        ExecutionMode(3, 1, False),
        {"note": None},
    )


def test_one_thread_is_tried_where_there_are_several(monkeypatch):
    now = [4]
    monkeypatch.setattr(autotune.torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(autotune.torch, "set_num_threads", now.append)
    choice = fastest_mode(
        lambda *_: Throughput(0.1, 0.01, 11.0 if now[-1] == 1 else 13.0), 1, "cell"
    )
    assert choice.way == ExecutionMode(1, 1, False)
    assert [each.way.threads for each in choice.tried] == [4, 1]
    assert now[-1] == 4


def test_what_compiling_costs_is_reckoned_from_the_fastest_step(monkeypatch):
    """On a busy machine two threads can take a hundred times as long as one."""
    now = [2]
    monkeypatch.setattr(autotune.torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(autotune.torch, "set_num_threads", now.append)

    def pace(count, mode):
        step = 0.4 if now[-1] == 2 else 0.01
        return Throughput(0.1, step, 6000 * step) if mode == "off" else Throughput(9.0, 0.001, 6.0)

    assert fastest_mode(pace, 5, "cell").way == COMPILED


def test_a_choice_that_cannot_be_read_is_made_again(cache):
    pace, asked = paced(eager5=(0.004, 25.0), eager1=(0.002, 15.0), compiled5=(12.0, 5.0))
    fastest_mode(pace, 5, "cell")
    (path,) = cache.iterdir()
    path.write_text("{")
    assert fastest_mode(pace, 5, "cell").way == COMPILED
    assert asked["compiled5"] == 2


def test_a_cache_that_takes_nothing_costs_the_trial_again(cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder would be")
    pace, asked = paced(eager5=(0.004, 25.0), eager1=(0.002, 15.0), compiled5=(12.0, 5.0))
    assert [fastest_mode(pace, 5, "cell").way for _ in range(2)] == [COMPILED] * 2
    assert asked["compiled5"] == 2


SECONDS = some.floats(0.001, 10_000)


@given(*[some.tuples(SECONDS, SECONDS)] * 4)
def test_no_way_is_chosen_that_was_slower_than_the_plain_one(eager5, eager1, compiled5, compiled1):
    pace, _ = paced(eager5=eager5, eager1=eager1, compiled5=compiled5, compiled1=compiled1)
    choice = autotune._trial(pace, EAGER)
    cost = {
        each.way: each.training + (each.warm_up if each.way.compiled else 0)
        for each in choice.tried
    }
    assert all(cost[choice.way] <= other for other in cost.values())
    assert EAGER in cost


def test_the_steps_of_groups_count_as_those_of_one_batch():
    advances = []
    advance = shared(advances.append, 3)
    for _ in range(3 * 10):
        advance(1)
    assert sum(advances) == 10


@pytest.mark.parametrize(
    "cell", [("split:tasks=2,train_examples=40", "er:lr=0.01"), ("sinusoid:iterations=3", "maml")]
)
def test_replicates_one_by_one_leave_the_records_of_those_together(cell, tmp_path, monkeypatch):
    registry, context, steps = Registry(), Context(), []
    (job,) = plan([tuple(cell)], 2, registry, context, Store(tmp_path))
    records = {}
    for together in (2, 1):
        choice = TunedMode(
            ExecutionMode(together, 1, False),
            None,
            [Timing(ExecutionMode(together, 1, False), 0.1, 0.2)] * 2,
        )
        monkeypatch.setattr(jobs, "fastest_mode", lambda *_, choice=choice: choice)
        records[together] = run_job(job, registry, context, steps.append)
        assert sum(news for news in steps if isinstance(news, int)) == job.steps
        steps.clear()
    for one, other in zip(*records.values(), strict=True):
        assert (one.status, one.seed, one.how["replicates"], other.how["replicates"]) == (
            "done",
            other.seed,
            2,
            1,
        )
        assert (
            other.how["timings"]
            == [
                {
                    "replicates": 1,
                    "threads": 1,
                    "compiled": False,
                    "warm_up": 0.1,
                    "training": 0.2,
                }
            ]
            * 2
        )
        if one.test_examples:
            assert one.correct == other.correct
        else:
            assert np.array(one.adaptation.loss) == pytest.approx(
                np.array(other.adaptation.loss), rel=1e-3, abs=1e-5
            )


@pytest.mark.parametrize(("name", "pretraining_steps"), [("er", 0), ("oml", 20)])
def test_the_pace_is_of_all_that_is_trained_and_leaves_no_trace(name, pretraining_steps):
    benchmark, part, seeds = Blobs(held=4), Registry().get("strategies", name), [0, 1]
    streams = [benchmark.stream(blobs(held=4), seed) for seed in seeds]
    state = torch.random.get_rng_state()
    pace = stream_loop.pace(benchmark, part, streams, seeds, CPU, "off")
    steps = stream_loop.total_steps(benchmark, part, streams)
    assert streams[0].pretraining.steps == 20
    fewest, most = sorted([pretraining_steps, steps])
    assert fewest * pace.step <= pace.training <= most * pace.step
    assert pace.warm_up > 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_calls_are_timed_by_their_median_the_first_aside(monkeypatch):
    now = iter([0.0, 0.05, 1.0, 1.02, 2.0, 2.01, 3.0, 3.04])
    monkeypatch.setattr(clocks, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    assert clocks.Clocks(CPU).each([lambda: None] * 4) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("cores", "gigabytes", "steps", "workers"),
    [
        (2, 24, [5000] * 3, 2),
        (2, 24, [5000], 1),
        (8, 24, [1000] * 8, 4),
        (8, 4, [5000] * 8, 2),
        (8, 1, [5000] * 8, 1),
        (8, 24, [], 1),
    ],
)
def test_there_are_as_many_processes_as_have_a_core_memory_and_work(
    cores, gigabytes, steps, workers, monkeypatch
):
    monkeypatch.setattr(console, "usable_cores", lambda: cores)
    monkeypatch.setattr(console, "physical_bytes", lambda: gigabytes << 30)
    (job,) = plan(
        [("split:tasks=2,train_examples=40", "finetune")],
        1,
        Registry(),
        Context(),
        Store(Path("nowhere")),
    )
    jobs = [replace(job, steps=each) for each in steps]
    assert console._workers([*jobs, replace(job, missing=(), steps=10**6)]) == workers


def test_a_record_that_contradicts_itself_is_a_failure_with_its_reason(tmp_path, monkeypatch):
    registry, context = Registry(), Context(compile="off")
    pair = ("split:tasks=2,train_examples=40", "finetune")
    (job,) = plan([pair], 1, registry, context, Store(tmp_path))
    monkeypatch.setattr(jobs, "inconsistency", lambda _: "one row too many")
    (record,) = run_job(job, registry, context, lambda _: None)
    assert record.status == "failed"
    assert "the record contradicts itself. one row too many" in record.reason
