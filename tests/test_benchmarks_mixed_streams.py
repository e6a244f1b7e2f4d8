"""Streams that are more than a split: laws of which examples come where, and how often."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from retrograde.data.dataset import Dataset
from retrograde.data.joined import joined
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.randomness import generator
from retrograde.streams.stream_file import save_stream, stream_from_file

PARTS = Registry()
DIGITS = load("digits", Path())
SEEDS = st.integers(0, 99)


def stream(name, seed=0, data=DIGITS, **given):
    return PARTS.get("benchmarks", name, {key: str(value) for key, value in given.items()}).stream(
        data, seed
    )


def examples(experiences):
    return [
        list(zip(each.row.tolist(), each.y.tolist(), each.task.tolist(), strict=True))
        for each in experiences
    ]


def times_seen(made):
    """How often each training example comes in the whole stream."""
    rows = np.concatenate([each.row for each in made.experiences])
    return np.bincount(rows, minlength=len(made.data.y_train))


EACH_ONCE = [
    ("blurry", {"share": 0.3}),
    ("blurry", {"share": 0.2, "disjoint": 0.5}),
    ("gradual", {"width": 1.5}),
    ("gradual", {"transition": "sigmoid"}),
    ("repeating", {"rounds": 4}),
    ("repeating", {"rounds": 4, "probability": 0.4}),
    ("online", {}),
    ("online", {"order": "mixed"}),
    ("split", {"sizes": "5,3,1,1"}),
]


@pytest.mark.parametrize(("name", "given"), EACH_ONCE)
@given(seed=SEEDS)
@settings(max_examples=5)
def test_every_training_example_comes_exactly_once(name, given, seed):
    made = stream(name, seed, **given)
    assert (times_seen(made) == 1).all()
    for each in made.experiences:
        assert np.array_equal(each.y, DIGITS.y_train[each.row])
        assert made.units[each.task, each.y].all()


def test_a_long_tail_follows_a_class_order_that_is_given():
    order = [9, 3, 5, 0, 1, 2, 4, 8, 7, 6]
    made = stream("imbalanced", 0, ratio=0.1, tasks=2, class_order=",".join(map(str, order)))
    kept = np.bincount(np.concatenate([each.y for each in made.experiences]))
    found = kept / np.bincount(DIGITS.y_train)
    assert np.allclose(found[order], 0.1 ** (np.arange(10) / 9), atol=1 / 100)


@given(seed=SEEDS)
@settings(max_examples=5)
def test_streams_without_mixing_are_the_split_stream_bit_for_bit(seed):
    plain = stream("split", seed)
    for name, changed in (("blurry", {"share": 0}), ("repeating", {"rounds": 1})):
        made = stream(name, seed, **changed)
        for one, other in zip(plain.experiences, made.experiences, strict=True):
            assert all(a.tobytes() == b.tobytes() for a, b in zip(one[:3], other[:3], strict=True))
        assert made.learned.tolist() == plain.learned.tolist()


@given(st.floats(0.05, 0.9), SEEDS)
@settings(max_examples=10)
def test_a_blurry_class_has_its_share_in_other_experiences_spread_evenly(share, seed):
    made = stream("blurry", seed, share=share)
    for task in range(5):
        counts = np.array([(each.task == task).sum() for each in made.experiences])
        classes = np.flatnonzero(made.units[task])
        sizes = [(DIGITS.y_train == each).sum() for each in classes]
        assert counts.sum() - counts[task] == sum(round(share * size) for size in sizes)
        others = np.delete(counts, task)
        # Each of two classes leaves a remainder of its own.
        assert np.ptp(others) <= 2
    assert made.learned.tolist() == [*range(5)]


def test_disjoint_classes_come_in_one_experience_alone():
    made = stream("blurry", 3, share=0.3, disjoint=0.4)
    experiences_of = Counter(
        unit for each in made.experiences for unit in np.unique(each.y).tolist()
    )
    assert Counter(experiences_of.values()) == {1: 4, 5: 6}


@pytest.mark.parametrize("transition", ["linear", "sigmoid"])
def test_a_task_rises_and_falls_as_its_transition_says(transition):
    random = np.random.default_rng(0)
    y = np.repeat([0, 1], 20_000)
    data = Dataset("two", random.random((len(y), 2)), y, random.random((2, 2)), np.array([0, 1]))
    made = stream("gradual", 0, data, tasks=2, width=0.5, transition=transition)
    task = np.concatenate([each.task for each in made.experiences])
    first = int(made.experiences[0].y[0])
    share = (task == first).reshape(40, -1).mean(1)
    moments = (np.arange(40) + 0.5) / 20 - 1
    linear = np.clip(0.5 - moments / 0.5, 0, 1)
    sigmoid = 1 / (1 + 9 ** (moments / 0.25))
    expected = linear if transition == "linear" else sigmoid
    # The ends of the stream, where moments are cut off, are no transition.
    assert np.abs(share - expected)[10:30].max() < 0.06


def test_a_gradual_stream_of_no_width_has_the_examples_of_a_split_stream():
    made, plain = stream("gradual", 1, width=0), stream("split", 1)
    for one, other in zip(examples(made.experiences), examples(plain.experiences), strict=True):
        assert sorted(one) == sorted(other)


@given(st.integers(1, 4), SEEDS)
@settings(max_examples=10)
def test_tasks_come_back_once_a_round_after_a_first_round_in_order(rounds, seed):
    made = stream("repeating", seed, rounds=rounds, examples="same")
    tasks = [int(each.task[0]) for each in made.experiences]
    assert tasks[:5] == [*range(5)]
    assert [sorted(part) for part in np.split(np.array(tasks), rounds)] == [[*range(5)]] * rounds
    assert (times_seen(made) == rounds).all()
    assert made.learned.tolist() == [len(tasks) - 1 - tasks[::-1].index(task) for task in range(5)]


def test_few_examples_of_a_task_that_comes_back_are_the_same_ones():
    settings = {"rounds": 3, "examples": "same", "train_examples": 20}
    made = stream("repeating", 1, **settings, labelled=0.5, label_noise=0.3, validation=0.2)
    seen = times_seen(made)
    assert set(seen.tolist()) == {0, 3}
    assert len(made.experiences[0].row) in range(6, 11)


@given(st.floats(0.01, 1), st.sampled_from(["ordered", "shuffled"]), SEEDS)
@settings(max_examples=10)
def test_class_counts_of_a_long_tail_follow_the_stated_law(ratio, order, seed):
    made = stream("imbalanced", seed, ratio=ratio, order=order)
    kept = np.bincount(np.concatenate([each.y for each in made.experiences]))
    of_rank = ratio ** (np.arange(10) / 9)
    classes = generator(seed, "classes").permutation(10)
    found = kept / np.bincount(DIGITS.y_train)
    found = found[classes] if order == "ordered" else np.sort(found)[::-1]
    assert np.allclose(found, of_rank, atol=1 / 100)
    assert times_seen(made).max() == 1


def test_one_large_task_keeps_all_of_its_examples():
    made = stream("imbalanced", 0, profile="one-large", ratio=0.1, large=2)
    plain = stream("split", 0)
    sizes = [len(each.row) for each in made.experiences]
    whole = [len(each.row) for each in plain.experiences]
    assert sizes[2] == whole[2]
    assert all(abs(sizes[number] - 0.1 * whole[number]) <= 1 for number in (0, 1, 3, 4))


def grey(count, classes=10, side=12):
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(classes), count)
    x = random.integers(1, 256, (len(y), 1, side, side), dtype=np.uint8)
    return x, y


MADE = Dataset("made", *grey(60), *grey(8), scale=1 / 255)


def test_mnist360_shows_pairs_of_neighbours_for_three_rounds():
    made = stream("mnist360", 0, MADE, batch_size=4)
    (experience,) = made.experiences
    changes = [0, *np.flatnonzero(np.diff(experience.y)) + 1]
    pairs = list(dict.fromkeys(zip(experience.y[:-1], experience.y[1:], strict=True)))
    assert {abs(int(a) - int(b)) for a, b in pairs} <= {0, 1, 8}
    assert experience.y[0] == 0
    assert experience.y[-1] in (8, 0)
    assert len(changes) > 27
    assert times_seen(made).max() == 1
    assert (times_seen(made)[MADE.y_train < 9].mean()) > 0.95
    assert times_seen(made)[MADE.y_train == 9].sum() == 0


def test_the_digits_of_mnist360_turn_as_in_the_authors_code():
    made = stream("mnist360", 0, MADE, batch_size=4)
    (experience,) = made.experiences
    come = np.flatnonzero(experience.y == 3)
    degrees = (3 - 1) * 60 + np.arange(len(come)) * 360 / 60
    seen = made.images(MADE.x_train, experience.row[come], experience.view[come])
    for image, row, angle in zip(seen, experience.row[come], degrees, strict=True):
        whole = Image.fromarray(MADE.x_train[row][0])
        turned = np.asarray(whole.rotate(float(angle % 360))) / 255
        assert (np.abs(image[0] - turned) < 1e-6).mean() > 0.97


def test_examples_drawn_anew_come_several_times_or_never():
    seen = times_seen(stream("mnist360", 0, MADE, draw="anew"))[MADE.y_train < 9]
    assert seen.max() > 1
    assert (seen == 0).any()


@pytest.mark.parametrize("name", ["blurry", "gradual", "online"])
def test_a_stream_that_was_saved_is_read_again(name, tmp_path):
    made = stream(name, 4)
    save_stream(made, tmp_path / "stream.json")
    again = stream_from_file(tmp_path / "stream.json", DIGITS, "class")
    assert examples(again.experiences) == examples(made.experiences)
    assert np.array_equal(again.units, made.units)
    assert again.ordered == made.ordered
    assert [task.test.row.tolist() for task in again.tasks] == [
        task.test.row.tolist() for task in made.tasks
    ]


def test_a_stream_is_not_saved_where_nobody_can_write(tmp_path):
    with pytest.raises(UserError, match="must be writable"):
        save_stream(stream("split"), tmp_path / "nowhere" / "stream.json")


@pytest.mark.parametrize("name", ["permuted", "rotated"])
def test_a_stream_that_changes_pixels_is_not_saved(name, tmp_path):
    with pytest.raises(UserError, match="rearranges pixels"):
        save_stream(stream(name, tasks=2), tmp_path / "stream.json")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"experiences": []}, "at least one experience"),
        ({"experiences": [[0], []]}, "experience 2 has none"),
        ({"experiences": [[0, 0]]}, "row 0 2 times"),
        ({"experiences": [[99_999]]}, "experience 1 has 99999"),
        ({"experiences": [[-1]]}, "greater than or equal to 0"),
        ({"experiences": [[0.5]]}, "no stream file"),
        ({"experiences": [[10**30]]}, "less than or equal to"),
        ({"experiences": [[0]], "clases": [[0]]}, "clases: Extra inputs"),
        ({"experiences": [[0], [1]], "learned_after": [0, 0]}, "none up to experience 1, after"),
        ({"tasks": [[0]]}, "Field required"),
        ({"experiences": [[*range(99)]], "classes": [[1], [1]]}, "a class has one task"),
        ({"experiences": [[*range(99)]], "classes": [[1]]}, "are in one of them alone"),
        ({"experiences": [[*range(99)]], "learned_after": [1]}, "from 0 to 0; it is"),
        ({"experiences": [[*range(99)]], "test": [[]]}, "task 1 has none"),
        ({"experiences": [[*range(99)]], "test": []}, "it has 0 lists"),
        ({"experiences": [[*range(99)]], "test": [[0]]}, "no test example"),
    ],
)
def test_a_file_of_a_stream_that_does_not_fit_says_what_is_wrong(content, error, tmp_path):
    path = tmp_path / "stream.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=error):
        stream("stream", file=path)


def test_without_classes_the_new_ones_of_each_experience_are_a_task(tmp_path):
    of = {unit: np.flatnonzero(DIGITS.y_train == unit).tolist() for unit in range(10)}
    rows = [of[3][:9] + of[5][:9], of[3][9:], of[5][9:20] + of[0], [*of[1], *of[2]]]
    path = tmp_path / "stream.json"
    path.write_text(json.dumps({"experiences": rows}))
    made = stream("stream", file=path)
    assert [np.flatnonzero(units).tolist() for units in made.units] == [[3, 5], [0], [1, 2]]
    assert made.first.tolist() == [0, 2, 3]
    assert made.learned.tolist() == [2, 2, 3]


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("split", {"sizes": "5,4"}, "10 in all; it is"),
        ("split", {"sizes": "5,5", "tasks": 3}, "Leave out tasks"),
        ("split", {"sizes": "10,0"}, "at least 1"),
        ("blurry", {"tasks": 1}, "Raise tasks"),
        ("blurry", {"share": 0.9, "train_examples": 3}, "none up to experience"),
        ("online", {"train_examples": 2, "order": "mixed"}, "has none. Give more"),
        ("repeating", {"rounds": 300}, "Lower rounds"),
        ("imbalanced", {"profile": "one-large", "large": 5}, "large=5"),
        ("mnist360", {"classes": 2}, "classes=2"),
        ("mnist360", {"rounds": 999}, "Lower rounds"),
        ("mnist360", {"rounds": 20, "dataset": "digits"}, "40 pairs; class 0"),
        ("stream", {}, "stream:file=PATH"),
        ("stream", {"file": "nowhere.json"}, "there is none at"),
        ("sequence", {"dataset": "digits"}, "dataset=digits is one"),
    ],
)
def test_settings_that_give_no_stream_say_why(name, given, error):
    with pytest.raises(UserError, match=error):
        stream(name, **given)


def test_joined_datasets_keep_their_order_and_take_the_form_of_the_first():
    colours = np.zeros((4, 3, 6, 6), np.uint8)
    colours[:, 0] = 255
    y = np.array([0, 1, 0, 1])
    red = Dataset("red", colours, y, colours, y, scale=1 / 255)
    both = joined([MADE, red])
    assert both.shape == (1, 12, 12)
    assert (both.classes, both.joined) == (12, (10, 2))
    assert np.array_equal(both.x_train[:600], MADE.x_train)
    # Red is 0.299 bright.
    assert set(np.unique(both.x_train[600:])) == {round(0.299 * 255)}
    assert both.y_train[600:].tolist() == [10, 11, 10, 11]


def test_a_sequence_has_the_datasets_one_after_the_other():
    other = Dataset("other", *grey(4, classes=4), *grey(2, classes=4), scale=1 / 255)
    made = stream("sequence", 0, joined([MADE, other]), tasks_each=2)
    units = [np.flatnonzero(units).tolist() for units in made.units]
    assert units == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11], [12, 13]]


def test_a_dataset_comes_once_in_a_sequence():
    with pytest.raises(UserError, match="comes twice"):
        joined([MADE, MADE])


def test_the_lists_of_rainbow_memory_become_a_stream(tmp_path):
    rows = {unit: np.flatnonzero(DIGITS.y_train == unit)[:4].tolist() for unit in range(4)}
    tests = {unit: np.flatnonzero(DIGITS.y_test == unit)[:2].tolist() for unit in range(4)}
    paths = []
    for part, of in (("train", rows), ("test", tests)):
        for task, units in enumerate(((2, 0), (1, 3))):
            entries = [
                {"file_name": f"{part}/{unit}/{row}.png", "klass": unit, "label": 0}
                for unit in units
                for row in of[unit]
            ]
            paths.append(tmp_path / f"{part}{task}.json")
            paths[-1].write_text(json.dumps([*entries, entries[0]]))
    out = tmp_path / "stream.json"
    script = Path(__file__).parents[1] / "tools" / "rainbow_memory_stream.py"
    call = [sys.executable, script, out, *paths[:2], "--test", *paths[2:]]
    subprocess.run(call, check=True)
    made = stream("stream", file=out)
    assert [each.row.tolist() for each in made.experiences] == [
        rows[2] + rows[0],
        rows[1] + rows[3],
    ]
    assert [sorted(task.test.row) for task in made.tasks] == [
        sorted(tests[0] + tests[2]),
        sorted(tests[1] + tests[3]),
    ]
    assert made.learned.tolist() == [0, 1]
