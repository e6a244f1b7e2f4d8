"""Progress: counts that add up, and what a terminal and a pipe show of a run."""

import io
import re
import time
from functools import partial

import pytest
from rich.console import Console

from retrograde.parts.registry import Registry
from retrograde.records.store import Store
from retrograde.running import progress
from retrograde.running.jobs import in_phases, run_here
from retrograde.running.plan import Context, plan
from retrograde.running.progress import RunState, Tally, displayed


@pytest.fixture
def run(tmp_path):
    """Two jobs of a cell, and the context to run them in."""
    context = Context((), tmp_path, compile="off")
    registry = Registry()
    stream = "split:tasks=2,train_examples=20,test_examples=20"
    store = Store(tmp_path)
    jobs = plan([(stream, "finetune"), (stream, "er")], range(2), registry, context, store)
    return jobs, registry, context


def test_replicates_add_up_to_all_of_them_whatever_becomes_of_them(make_record):
    tally = Tally(done=3, missing=4)
    assert str(tally) == "3 done, 4 left of 7 replicates"
    tally.add([make_record("er", 0, status="diverged"), make_record("er", 1, status="failed")])
    tally.add([make_record("er", 2)])
    assert str(tally) == "4 done, 1 diverged, 1 failed, 1 left of 7 replicates"


def test_steps_end_at_their_sum_although_a_job_takes_fewer_or_more(run):
    jobs, *_ = run
    state = RunState(jobs, Tally(0, 4))
    state.hear(jobs[0], 10**6)
    assert state.taken == jobs[0].steps
    state.end(jobs[0])
    state.hear(jobs[1], 1)
    assert state.taken == jobs[0].steps + 1
    state.end(jobs[1])
    assert state.taken == state.steps == sum(job.steps for job in jobs)


def test_the_phases_of_a_job_are_told_in_their_order_and_its_steps_are_all_counted(run):
    jobs, registry, context = run
    told = []
    for job, _ in run_here(jobs, registry, context, lambda _, news: told.append(news)):
        assert job in jobs
    phases = [news for news in told if isinstance(news, str)]
    first = ["loading data", "warming up", "evaluating"]
    assert sorted(phases[:3]) == sorted(first)
    assert set(phases) == {*first, "training"}
    assert sum(news for news in told if isinstance(news, int)) == sum(job.steps for job in jobs)


def test_a_step_that_is_compiled_is_told_apart_and_short_clocks_are_not_told():
    told = []
    tell = in_phases(told.append, "compile")
    for news in ("train", "ready", "train", 1, "probe", "train", 2, "evaluate"):
        tell(news)
    assert told == ["training", "compiling", "training", 1, 2, "evaluating"]


def shown(run, console):
    """What a console shows of a run of which one job is in a trial."""
    jobs, *_ = run
    state = RunState(jobs, Tally(1, 4))
    state.hear(jobs[0], "trial: 2 together, compiled")
    with displayed(state, console):
        yield state, jobs
    yield console.file.getvalue()


def test_a_terminal_shows_a_bar_for_the_run_and_one_with_cell_and_phase_for_each_job(run):
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    *_, text = shown(run, console)
    assert "1 done, 4 left of 5 replicates" in text
    assert "finetune on split:" in text
    assert "seeds 0-1: trial: 2 together, compiled" in text


def test_a_job_has_one_line_on_a_narrow_terminal(run):
    jobs, *_ = run
    state = RunState(jobs, Tally(0, 4))
    state.hear(jobs[0], "training")
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with displayed(state, console):
        pass
    lines = console.file.getvalue().splitlines()
    (line, *_) = [line for line in lines if "finetune on split" in line]
    assert "seeds 0-1: training" in line


def test_a_pipe_has_a_line_a_minute_even_without_news(run, monkeypatch):
    monkeypatch.setattr(progress, "MINUTE", 0.05)
    console = Console(file=io.StringIO(), width=1000)
    steps = shown(run, console)
    next(steps)
    while console.file.getvalue().count("\n") < 2:
        time.sleep(0.01)
    *_, text = steps
    first = text.splitlines()[0]
    # the clock depends on how busy the machine is
    assert re.match(r"\d:\d\d:\d\d 1 done, 4 left of 5 replicates; finetune on split", first)
    assert first.endswith("trial: 2 together, compiled 0 %")


def test_a_quiet_console_shows_nothing(run):
    console = Console(file=io.StringIO(), quiet=True)
    *_, text = shown(run, console)
    assert text == ""


def test_results_stand_above_the_bar_of_a_terminal_on_its_console(call_run):
    out, err = call_run(terminals=True)
    assert "done     split" in err
    assert "done     split" not in out
    assert "2 done of 2 replicates" in out
    out, err = call_run(terminals=False)
    assert "done     split" in out
    assert "done     split" not in err


@pytest.fixture
def call_run(tmp_path):
    """Run a cell; returns what its two consoles show."""
    from retrograde.running.console import Stored, run_all
    from retrograde.running.options import Options
    from retrograde.running.suite import all_pairs

    def call(*, terminals):
        made = partial(Console, force_terminal=terminals, width=200, color_system=None)
        out, err = made(file=io.StringIO()), made(file=io.StringIO())
        pairs = all_pairs(["split:tasks=2,train_examples=20,test_examples=20"], ["finetune"])
        options = Options((), None, "cpu", "off", 1, None, "", None)
        folder = tmp_path / str(terminals)
        assert run_all([Stored(folder, pairs, range(2))], options, out, err) == 0
        return out.file.getvalue(), err.file.getvalue()

    return call
