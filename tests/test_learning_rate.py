"""Schedules of the learning rate, step by step against PyTorch's."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch.optim import lr_scheduler as theirs

from retrograde.errors import UserError
from retrograde.learning_rate import RateSchedule, factors


def by_pytorch(steps, make):
    """The rates that a schedule of PyTorch gives over some steps, from a rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(rates)


def warm(optimizer, warm_up):
    return theirs.LinearLR(optimizer, start_factor=1 / (warm_up + 1), total_iters=warm_up)


def step_after_warm_up(optimizer):
    parts = [warm(optimizer, 7), theirs.MultiStepLR(optimizer, [20, 30], 0.2)]
    return theirs.ChainedScheduler(parts)


def cosine_after_warm_up(optimizer):
    parts = [warm(optimizer, 7), theirs.CosineAnnealingLR(optimizer, 33)]
    return theirs.SequentialLR(optimizer, parts, milestones=[7])


PAIRS = {
    "constant": (RateSchedule(), lambda o: theirs.ConstantLR(o, 1.0)),
    "step": (
        RateSchedule("step", milestones=(20.0, 30.0), decay=0.2),
        lambda o: theirs.MultiStepLR(o, [20, 30], 0.2),
    ),
    "step at shares": (
        RateSchedule("step", milestones=(0.5, 0.75)),
        lambda o: theirs.MultiStepLR(o, [20, 30], 0.1),
    ),
    "cosine": (RateSchedule("cosine"), lambda o: theirs.CosineAnnealingLR(o, 40)),
    "warm-up": (RateSchedule(warm_up=7), lambda o: warm(o, 7)),
    "warm-up of one step": (RateSchedule(warm_up=1), lambda o: warm(o, 1)),
    "step after warm-up": (
        RateSchedule("step", milestones=(20.0, 30.0), decay=0.2, warm_up=7),
        step_after_warm_up,
    ),
    "cosine after warm-up": (RateSchedule("cosine", warm_up=7), cosine_after_warm_up),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("pair", PAIRS)
def test_a_schedule_gives_the_rates_of_pytorchs(pair):
    schedule, make = PAIRS[pair]
    ours = factors(schedule, [40])
    np.testing.assert_allclose(ours[0], by_pytorch(40, make), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_schedule_begins_anew_with_each_experience_unless_it_runs_over_the_stream(pair):
    schedule, _ = PAIRS[pair]
    (once,) = factors(schedule, [40])
    again = factors(schedule, [40, 40, 40])
    assert all(np.array_equal(once, each) for each in again)
    over_stream = factors(schedule._replace(over="stream"), [10, 25, 5])
    assert [len(part) for part in over_stream] == [10, 25, 5]
    assert np.array_equal(np.concatenate(over_stream), once)


@given(
    st.sampled_from(["constant", "cosine", "step"]),
    st.integers(0, 9),
    st.integers(20, 60),
    st.sampled_from(["experience", "stream"]),
)
def test_the_rate_rises_in_the_warm_up_and_never_after_it(course, warm_up, count, over):
    milestones = (0.5, 0.75) if course == "step" else ()
    schedule = RateSchedule(course, milestones=milestones, warm_up=warm_up, over=over)
    (factor,) = factors(schedule, [count])
    change = np.diff(factor)
    assert (change[:warm_up] > 0).all()
    assert (change[warm_up:] <= 0).all()
    assert factor.min() > 0
    assert factor.max() == factor[warm_up] == 1


@pytest.mark.parametrize(
    ("schedule", "steps", "message"),
    [
        (RateSchedule(warm_up=10), [30, 10], "warm_up=10, and experience 2 takes 10 steps"),
        (RateSchedule(warm_up=40, over="stream"), [30, 10], "the stream takes 40 steps. Change"),
        (RateSchedule("cosine", warm_up=50), [50], "Change warm_up, or train with schedule_over"),
        (
            RateSchedule("step", milestones=(30.0,)),
            [31, 30],
            "after 30 steps, and experience 2 takes",
        ),
        (RateSchedule("step", milestones=(40.0,), over="stream"), [30, 10], "the stream takes 40"),
        (RateSchedule("step", milestones=(0.5,)), [1], "milestone 0.5 comes after 0 steps"),
        (
            RateSchedule("step", milestones=(4.0, 9.0), warm_up=5),
            [20],
            "after the warm-up of 5 steps",
        ),
    ],
)
def test_a_schedule_that_is_longer_than_the_run_is_refused(schedule, steps, message):
    with pytest.raises(UserError, match=message):
        factors(schedule, steps)


@pytest.mark.parametrize(
    ("milestones", "message"),
    [
        ((), "none is given. Give such as milestones=0.5,0.75"),
        ((0.5, 100.0), "not both; milestones=0.5,100"),
        ((1.5,), "which are whole; milestones=1.5"),
        ((0.75, 0.5), "Milestones rise; milestones=0.75,0.5"),
        ((10.0, 10.0), "give each once"),
    ],
)
def test_milestones_that_make_no_sense_are_refused(milestones, message):
    with pytest.raises(UserError, match=message):
        RateSchedule("step", milestones=milestones).check()


def test_a_milestone_within_the_run_is_accepted_up_to_the_last_step():
    schedule = RateSchedule("step", milestones=(29.0,), decay=0.5)
    schedule.check()
    assert factors(schedule, [30])[0].tolist() == [1.0] * 29 + [0.5]


def test_only_a_schedule_with_a_course_or_a_warm_up_changes_the_rate():
    assert not RateSchedule().changes
    assert all(schedule.changes for name, (schedule, _) in PAIRS.items() if name != "constant")
