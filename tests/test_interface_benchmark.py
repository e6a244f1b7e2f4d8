"""Streams: how each part cuts a dataset into tasks, and that it copies nothing."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from retrograde.benchmarks.rotated import rotation
from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.learning_rate import RateSchedule
from retrograde.parts.registry import Registry
from retrograde.parts.spec import digest, parse
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.streams.cuts import need_images

Split, Permuted, Rotated = (
    Registry().find("benchmarks", name) for name in ("split", "permuted", "rotated")
)
SCENARIOS = ("task", "domain", "class")
CUTS = [Split(tasks=3), Permuted(tasks=3), Rotated(tasks=3), Rotated(tasks=3, angles="unsorted")]


def dataset(classes=7, train=8, test=4, shape=(2, 5, 6)):
    random = np.random.default_rng(1)

    def part(count):
        y = random.permutation(np.repeat(np.arange(classes), count))
        return random.integers(1, 256, (len(y), *shape), dtype=np.uint8), y

    return Dataset("made", *part(train), *part(test), scale=1 / 255)


DATA = dataset()


def indices(stream):
    """Every index array of a stream, in one list."""
    parts = [*stream.experiences, *(part for task in stream.tasks for part in task)]
    columns = [array for part in parts for array in part if array is not None]
    return [*columns, stream.units, *([] if stream.pixels is None else [stream.pixels])]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(indices(one), indices(other), strict=True))


def groups(stream):
    """The classes of the dataset that each experience trains."""
    y = stream.data.y_train
    return [sorted(set(y[experience.row].tolist())) for experience in stream.experiences]


def classes_in_tests(stream):
    """The classes of the dataset on which each task is tested."""
    y = stream.data.y_test
    return [sorted(set(y[task.test.row].tolist())) for task in stream.tasks]


def examples_for_test(stream):
    """The test examples of each task."""
    return [task.test for task in stream.tasks]


@given(st.integers(1, 7), st.permutations(range(7)), st.sampled_from(SCENARIOS))
def test_a_split_cuts_the_class_order_into_equal_tasks_and_the_last_takes_the_rest(
    tasks, order, scenario
):
    stream = Split(tasks=tasks, class_order=tuple(order), scenario=scenario).stream(DATA, 0)
    size = 7 // tasks
    expected = [
        sorted(order[n * size : (n + 1) * size if n < tasks - 1 else 7]) for n in range(tasks)
    ]
    assert groups(stream) == classes_in_tests(stream) == expected


@given(st.integers(1, 7), st.integers(0, 99), st.sampled_from(SCENARIOS))
def test_a_split_gives_every_example_to_exactly_one_task(tasks, seed, scenario):
    stream = Split(tasks=tasks, scenario=scenario).stream(DATA, seed)
    for parts, y in ((stream.experiences, DATA.y_train), (examples_for_test(stream), DATA.y_test)):
        rows = np.concatenate([part.row for part in parts])
        assert np.array_equal(np.sort(rows), np.arange(len(y)))


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_a_split_keeps_the_class_as_output_unit(scenario):
    stream = Split(tasks=3, class_order=(3, 1, 4, 0, 5, 2, 6), scenario=scenario).stream(DATA, 0)
    for experience, test in zip(stream.experiences, examples_for_test(stream), strict=True):
        assert np.array_equal(experience.y, DATA.y_train[experience.row])
        assert np.array_equal(test.y, DATA.y_test[test.row])
    assert [np.flatnonzero(units).tolist() for units in stream.units] == [[1, 3], [0, 4], [2, 5, 6]]


def test_a_domain_split_numbers_the_classes_of_a_task_in_their_order():
    order = (3, 1, 4, 0, 5, 2, 6)
    stream = Split(tasks=3, class_order=order, scenario="domain").stream(DATA, 0)
    assert stream.units.tolist() == [[True, True, False], [True, True, False], [True, True, True]]
    for start, experience in zip((0, 2, 4), stream.experiences, strict=True):
        assert np.array_equal(np.array(order)[start + experience.y], DATA.y_train[experience.row])


@given(
    st.integers(1, 7),
    st.integers(0, 9),
    st.sampled_from(SCENARIOS),
    st.sampled_from([Split, Permuted]),
)
def test_every_label_is_one_of_its_tasks_output_units(tasks, seed, scenario, part):
    stream = part(tasks=tasks, scenario=scenario).stream(DATA, seed)
    parts = zip(stream.units, stream.experiences, examples_for_test(stream), strict=True)
    for units, experience, test in parts:
        assert set(experience.y) == set(test.y) == set(np.flatnonzero(units))


def test_the_class_order_is_drawn_from_the_seed_unless_given():
    drawn = {str(groups(Split(tasks=3).stream(DATA, seed))) for seed in range(10)}
    given_order = {
        str(groups(Split(tasks=3, class_order=tuple(range(7))).stream(DATA, seed)))
        for seed in range(10)
    }
    assert len(drawn) > 5
    assert given_order == {"[[0, 1], [2, 3], [4, 5, 6]]"}


def test_the_class_order_does_not_depend_on_the_scenario():
    orders = [groups(Split(tasks=3, scenario=scenario).stream(DATA, 4)) for scenario in SCENARIOS]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize(
    "order",
    [(0, 1, 2), (0, 0, 1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6, 7), (*range(7), 7), (-1, *range(6))],
)
def test_a_class_order_that_does_not_name_each_class_once_is_refused(order):
    with pytest.raises(UserError, match="class_order names each of 0 to 6 once"):
        Split(tasks=3, class_order=order).stream(DATA, 0)


NAMES = ("cat", "dog", "great white shark", "T-shirt/top", "e", "f", "g")


@pytest.mark.parametrize(
    "name", ["split", "blurry", "imbalanced", "repeating", "gradual", "online"]
)
def test_a_class_order_may_have_names(name):
    named = replace(DATA, class_names=NAMES)
    orders = ("e,dog,great white shark,cat,f,g,T-shirt/top", "4,1,2,0,5,6,3")
    by_name, by_number = (
        Registry().get("benchmarks", *parse(f"{name}:tasks=3,class_order={order}"))
        for order in orders
    )
    assert same(by_name.stream(named, 0), by_number.stream(named, 0))


@pytest.mark.parametrize(
    ("order", "names", "why"),
    [
        ("caat,dog", NAMES, "made has no class 'caat'. Did you mean cat"),
        (
            "cat,dog",
            (),
            "classes of made have no names; class_order has 'cat'. Give each of 0 to 6",
        ),
        ("cat,cat,e", NAMES, "class_order names each of 0 to 6 once; it is .*'cat', 'cat'"),
    ],
)
def test_names_that_no_class_has_are_refused(order, names, why):
    part = Split.configured({"class_order": order, "tasks": "2"})
    with pytest.raises(UserError, match=why):
        part.stream(replace(DATA, class_names=names), 0)


def test_numbers_in_a_class_order_stay_numbers_in_records():
    settings = [
        Split.configured({"class_order": order}).settings()["class_order"]
        for order in ("2,0,1", "2 0 1", ["2", 0, 1], (2, 0, 1))
    ]
    assert settings == [[2, 0, 1]] * 4
    with pytest.raises(UserError, match="give the number of the class"):
        Split(class_order=("a, b", "c"))


def test_more_split_tasks_than_classes_are_refused():
    with pytest.raises(UserError, match="made has 7, tasks=8"):
        Split(tasks=8).stream(DATA, 0)


@pytest.mark.parametrize("part", [Permuted, Rotated])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_permuted_and_rotated_tasks_hold_all_examples_with_classes_of_their_own_unless_domain(
    part, scenario
):
    stream = part(tasks=3, scenario=scenario).stream(DATA, 0)
    step = 0 if scenario == "domain" else 7
    assert stream.units.shape == (3, 7 if scenario == "domain" else 21)
    for number, units in enumerate(stream.units):
        assert np.array_equal(stream.experiences[number].row, np.arange(len(DATA.y_train)))
        assert np.array_equal(stream.tasks[number].test.y, DATA.y_test + number * step)
        assert np.flatnonzero(units).tolist() == [*range(number * step, number * step + 7)]


def test_a_permuted_stream_shows_the_images_permuted_by_hand():
    stream = Permuted(tasks=3).stream(DATA, 0)
    rows = np.array([5, 0, 5])
    for task, order in enumerate(stream.pixels):
        by_hand = np.stack([DATA.x_train[row].ravel()[order].reshape(2, 5, 6) for row in rows])
        assert np.array_equal(
            stream.images(DATA.x_train, rows, task), by_hand * np.float32(1 / 255)
        )
        assert np.array_equal(np.sort(order), np.arange(60))


def test_every_task_and_every_seed_has_a_permutation_of_its_own():
    streams = [Permuted(tasks=4).stream(DATA, seed) for seed in range(4)]
    assert len({tuple(order) for stream in streams for order in stream.pixels}) == 16


def test_more_permuted_tasks_leave_the_earlier_ones_as_they_were():
    few, many = (Permuted(tasks=tasks).stream(DATA, 3).pixels for tasks in (2, 5))
    assert np.array_equal(few, many[:2])


def turned(image, degrees):
    """Every channel of an image turned by PIL."""
    return np.stack(
        [
            np.asarray(Image.fromarray(plane).rotate(degrees, Image.Resampling.NEAREST))
            for plane in image
        ]
    )


def test_given_degrees_are_the_angles_of_the_tasks_for_every_seed():
    for seed in range(2):
        stream = Rotated(tasks=3, degrees=(0, 80, 160)).stream(DATA, seed)
        assert all(
            np.array_equal(p, rotation(2, 5, 6, angle))
            for p, angle in zip(stream.pixels, (0.0, 80.0, 160.0), strict=True)
        )
    assert np.array_equal(stream.pixels[0], np.arange(60))


def test_degrees_that_are_not_one_for_each_task_are_refused():
    with pytest.raises(UserError, match="tasks=10,degrees=0,80. Give tasks=2"):
        Rotated(degrees=(0, 80)).stream(DATA, 0)


def test_the_identity_has_the_settings_that_differ_from_their_default_and_no_others():
    given = Rotated(tasks=2, degrees=(0, 80), eval_every=5, eval_examples=9)
    assert Rotated(tasks=2).overrides() == {"tasks": 2}
    assert given.overrides() == {
        "tasks": 2,
        "degrees": [0, 80],
        "eval_every": 5,
        "eval_examples": 9,
    }


def drawn_angles(stream, max_angle):
    """The angles of a rotated stream, found again by trying a fine grid of them."""
    grid = np.linspace(0, max_angle, 721)[:-1]
    tables = np.stack([rotation(*stream.data.shape, angle) for angle in grid])
    return [grid[(tables == pixels).mean(axis=1).argmax()] for pixels in stream.pixels]


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (9, 12)])
def test_the_rotation_table_turns_as_pil_does_but_for_a_few_ties(size):
    ids = np.arange(1, 1 + size[0] * size[1], dtype=np.int32).reshape(1, *size)
    different = 0
    for degrees in np.random.default_rng(0).uniform(0, 360, 50):
        table = np.append(ids.ravel(), 0)[rotation(1, *size, degrees)].reshape(1, *size)
        different += int((table != turned(ids, degrees)).sum())
    assert different <= 5


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0, 270.0])
def test_a_quarter_turn_of_a_square_moves_every_pixel_exactly(degrees):
    table = rotation(1, 6, 6, degrees).reshape(6, 6)
    assert np.array_equal(table, np.rot90(np.arange(36).reshape(6, 6), int(degrees // 90)))


def test_a_rotated_stream_shows_the_images_turned_by_one_angle_per_task():
    data = dataset(shape=(2, 12, 12))
    stream = Rotated(tasks=4).stream(data, 0)
    rows = np.arange(3)
    for task, degrees in enumerate(drawn_angles(stream, 180)):
        by_pil = np.stack([turned(data.x_test[row], degrees) for row in rows]) * np.float32(1 / 255)
        assert (stream.images(data.x_test, rows, task) == by_pil).mean() > 0.95


def test_binned_angles_rise_from_bin_to_bin_and_unsorted_ones_do_not():
    data = dataset(shape=(1, 15, 15))
    for seed in range(3):
        angles = drawn_angles(Rotated(tasks=5, max_angle=90.0).stream(data, seed), 90)
        assert all(18 * n - 2 <= angle <= 18 * (n + 1) + 2 for n, angle in enumerate(angles))
    unsorted = [
        drawn_angles(Rotated(tasks=5, angles="unsorted").stream(data, seed), 180)
        for seed in range(3)
    ]
    assert any(angles != sorted(angles) for angles in unsorted)


def test_every_channel_of_an_image_turns_alike():
    grey = np.repeat(dataset(shape=(1, 6, 6)).x_train, 3, axis=1)
    data = Dataset("grey", grey, dataset().y_train, grey, dataset().y_train)
    seen = Rotated(tasks=2, max_angle=90.0).stream(data, 0).images(grey, np.arange(4), 1)
    assert np.array_equal(seen[:, 0], seen[:, 2])
    assert not np.array_equal(seen, grey[:4])


@pytest.mark.parametrize("shape", [(9,), (3, 3)])
def test_images_are_needed_to_rotate_but_not_to_permute(shape):
    data = dataset(shape=shape)
    with pytest.raises(
        UserError, match=f"A rotated stream needs images; .* of made have shape \\({shape[0]},"
    ):
        Rotated().stream(data, 0)
    assert Permuted().stream(data, 0).images(data.x_train, np.arange(2), 9).shape == (2, *shape)
    assert need_images(DATA, "x") == (2, 5, 6)


def test_images_of_a_split_are_the_scaled_examples():
    rows = np.array([3, 3, 0])
    seen = Split(tasks=2).stream(DATA, 0).images(DATA.x_test, rows, 1)
    assert seen.dtype == np.float32
    assert np.array_equal(seen, DATA.x_test[rows] * np.float32(1 / 255))


def test_a_border_is_black_and_shared_by_all_replicates():
    made = Split(tasks=3, border=2, normalise="channels")
    streams = [made.stream(DATA, seed) for seed in range(2)]
    images = streams[0].data.x_train
    assert images.shape == (56, 2, 9, 10)
    assert np.array_equal(images[:, :, 2:-2, 2:-2], DATA.x_train)
    assert images.sum(dtype=np.int64) == DATA.x_train.sum(dtype=np.int64)
    assert streams[0].data is streams[1].data
    # The mean of a channel counts the black pixels.
    np.testing.assert_allclose(
        streams[0].channels.mean, DATA.x_train.mean((0, 2, 3)) / 255 * 30 / 90, rtol=1e-6
    )


def test_vectors_have_no_border():
    vectors = dataset(shape=(3,))
    with pytest.raises(UserError, match=r"Images alone have a border; .* shape \(3,\)"):
        Split(tasks=3, border=2).stream(vectors, 0)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("train_examples", "test_examples"), [(5, 0), (0, 3), (4, 2), (10**6, 10**6)]
)
def test_the_limits_hold_for_every_task_and_take_from_what_the_task_had(
    cut, train_examples, test_examples
):
    whole = cut.stream(DATA, 1)
    limited = (
        type(cut)
        .configured(
            {**cut.settings(), "train_examples": train_examples, "test_examples": test_examples}
        )
        .stream(DATA, 1)
    )
    for limit, all_of, some in (
        (train_examples, whole.experiences, limited.experiences),
        (test_examples, examples_for_test(whole), examples_for_test(limited)),
    ):
        for full, part in zip(all_of, some, strict=True):
            pairs = [*zip(part.row.tolist(), part.y.tolist(), strict=True)]
            assert len(pairs) == len(set(pairs)) == min(limit or 10**9, len(full.row))
            assert set(pairs) <= {*zip(full.row.tolist(), full.y.tolist(), strict=True)}


def test_limited_tasks_take_other_examples_for_other_tasks_and_seeds():
    streams = [Permuted(tasks=4, train_examples=10).stream(DATA, seed) for seed in range(4)]
    assert len({tuple(each.row) for stream in streams for each in stream.experiences}) == 16


def test_the_limit_on_test_examples_does_not_change_the_training_examples():
    plain, limited = (
        Permuted(tasks=3, train_examples=10, test_examples=test_examples).stream(DATA, 2)
        for test_examples in (0, 5)
    )
    assert all(
        np.array_equal(a.row, b.row)
        for a, b in zip(plain.experiences, limited.experiences, strict=True)
    )


@pytest.mark.parametrize("cut", CUTS)
def test_the_same_seed_cuts_the_same_stream_and_another_seed_another(cut):
    assert same(cut.stream(DATA, 7), cut.stream(DATA, 7))
    assert not same(cut.stream(DATA, 7), cut.stream(DATA, 8))


@pytest.mark.parametrize("cut", [Split(tasks=7), Permuted(tasks=50), Rotated(tasks=50)])
def test_no_pixel_is_copied(cut):
    data = dataset(train=20, shape=(3, 16, 16))
    stream = cut.stream(data, 0)
    tables = sum(array.nbytes for array in indices(stream))
    assert stream.data is data
    assert not any(np.shares_memory(array, data.x_train) for array in indices(stream))
    assert tables < 0.2 * len(stream.tasks) * data.x_train.nbytes / (
        7 if isinstance(cut, Split) else 1
    )


PROTOCOL = {
    "weights": "",
    "optimizer": "sgd",
    "momentum": None,
    "weight_decay": 0.0,
    "clip": 0.0,
    "schedule": "constant",
    "milestones": (),
    "decay": 0.1,
    "warm_up": 0,
    "schedule_over": "experience",
    "augment": "none",
    "normalise": "none",
    "channel_means": (),
    "channel_stds": (),
    "validation": 0.0,
}


def test_protocol_settings_at_their_defaults_change_neither_a_cells_identity_nor_its_stream():
    plain, given_all = Split(tasks=3), Split(tasks=3, **PROTOCOL)
    strategy = PartSpec("er", {})
    cells = [CellSpec(PartSpec.of("split", part), strategy, "data") for part in (plain, given_all)]
    # The digest of the cell before there was any of these settings.
    assert {cell.path.name for cell in cells} == {digest([[1, {"tasks": 3}], [1, {}], "data"])}
    assert same(plain.stream(DATA, 0), given_all.stream(DATA, 0))
    assert plain.stream(DATA, 0).channels is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 0.9}, "momentum=0.9 was given with optimizer=sgd. Change the optimizer"),
        ({"optimizer": "adam", "momentum": 0.5}, "belongs to optimizer=momentum or nesterov"),
        ({"optimizer": "adamw"}, "weight_decay=0 leaves Adam. Give such as weight_decay=0.01"),
        ({"milestones": (0.5,)}, "with schedule=constant, milestones="),
        ({"schedule": "cosine", "decay": 0.5}, "with schedule=cosine, decay=0.5 has none"),
        ({"schedule": "step"}, "none is given. Give such as milestones=0.5,0.75"),
        ({"schedule": "step", "milestones": (0.5, 20)}, "not both"),
        ({"boundaries": "unknown", "schedule": "cosine"}, "schedule=cosine over each experience"),
        ({"boundaries": "unknown", "warm_up": 5}, "warm_up=5 over each experience shows where"),
        ({"schedule_over": "stream"}, "with schedule=constant, schedule_over=stream has none"),
        ({"channel_means": (0.5,), "channel_stds": (0.2,)}, "with normalise=none, channel_means"),
        ({"normalise": "channels", "channel_means": (0.5,)}, "have 1 and 0 numbers"),
        ({"validation": 1.0}, "validation=1.0 is not possible"),
        ({"augment": "flip-crop"}, "'crop', 'flip', 'jitter', 'crop-flip'"),
    ],
)
def test_settings_of_the_protocol_that_do_not_fit_together_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Split.configured(settings)


def test_a_warm_up_alone_may_run_over_the_stream():
    made = Split(warm_up=5, schedule_over="stream")
    assert made.rate_schedule == RateSchedule(warm_up=5, over="stream")


def test_the_optimiser_is_built_from_the_settings():
    made = Split(optimizer="nesterov", momentum=0.5, weight_decay=0.1, clip=1.0)
    params, gradient = {"w": torch.tensor([2.0])}, {"w": torch.tensor([9.0])}
    optimizer = made.build_optimizer()
    after, slots = optimizer.update(params, gradient, optimizer.init(params), 0.1)
    # 1 after clipping, 1.2 with the decay of the weight.
    torch.testing.assert_close(slots["velocity"]["w"], torch.tensor([1.2]))
    torch.testing.assert_close(after["w"], torch.tensor([2 - 0.1 * (1.2 + 0.5 * 1.2)]))


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({"augment": "flip"}, dataset(shape=(9,)), "Images alone can be augmented"),
        ({"augment": "crop"}, dataset(shape=(1, 5, 6)), "at least 7 x 7 pixels"),
        ({"normalise": "channels"}, dataset(shape=(9,)), "Images alone have channels"),
        (
            {"normalise": "channels", "channel_means": (0.5,), "channel_stds": (0.2,)},
            DATA,
            "channel_means has 1. Give as many",
        ),
        ({"validation": 0.5}, dataset(train=1), "has 1 training example, and validation=0.5"),
        (
            {"validation": 0.8, "train_examples": 5},
            DATA,
            "leave 1 for the . classes of experience 1. Raise train_examples",
        ),
    ],
)
def test_a_protocol_that_does_not_fit_the_data_is_refused(settings, data, message):
    with pytest.raises(UserError, match=message):
        Split(tasks=2, **settings).stream(data, 0)


def test_images_of_an_iterated_stream_are_normalised():
    stream = Split(tasks=2, normalise="channels").stream(DATA, 0)
    seen = np.concatenate([task.x_train for task in stream])
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 2, 3)), 1, atol=1e-5)


def test_given_channels_normalise_in_place_of_measured_ones():
    settings = {"channel_means": (0.5, 0.25), "channel_stds": (0.2, 0.4)}
    plain = next(iter(Split(tasks=2).stream(DATA, 0)))
    task = next(iter(Split(tasks=2, normalise="channels", **settings).stream(DATA, 0)))
    np.testing.assert_allclose(task.x_test[:, 1], (plain.x_test[:, 1] - 0.25) / 0.4, rtol=1e-5)
    np.testing.assert_allclose(task.x_test[:, 0], (plain.x_test[:, 0] - 0.5) / 0.2, rtol=1e-5)


@dataclass(frozen=True, kw_only=True)
class Wrong(Benchmark):
    """A split with too few outputs, or whose second task has no tests."""

    outputs: int = 7
    tests: bool = True

    def cut(self, data, seed):
        stream = Split(tasks=2, class_order=tuple(range(7))).stream(data, seed)
        tasks = stream.tasks
        if not self.tests:
            tasks = (tasks[0], tasks[1]._replace(test=tasks[1].test.at(slice(0))))
        return replace(stream, units=stream.units[:, : self.outputs], tasks=tasks)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"outputs": 5}, "from 0 to 4 in this stream of made; experience 2 has label 6"),
        ({"outputs": 2}, "from 0 to 1 in this stream of made; experience 1 has label 2"),
        ({"tests": False}, "task 2 of 2 in this stream of made has no test examples. Add some"),
    ],
)
def test_labels_without_an_output_and_tasks_without_tests_are_refused(settings, why):
    with pytest.raises(UserError, match=why):
        Wrong(**settings).stream(DATA, 0)
    assert len(Wrong().stream(DATA, 0)) == 2


def pixels(dtype, scale=1.0, most=240):
    x = (np.arange(400) % (most + 1)).reshape(100, 1, 2, 2).astype(dtype)
    y = np.arange(100) % 10
    return Dataset("made", x, y, x, y, scale=scale)


@pytest.mark.parametrize("dtype", ["int64", "float64", "float32", "uint8", "int16"])
@pytest.mark.parametrize("name", ["split", "fewshot"])
def test_pixels_that_are_not_scaled_get_a_word(dtype, name):
    settings = {} if name == "split" else {"split": "4,3,3", "ways": "2", "shots": "2"}
    part = Registry().get("benchmarks", name, settings)
    make = part.stream if name == "split" else part.distribution
    with pytest.warns(UserWarning, match="from 0 to 240, and are not scaled"):
        make(pixels(dtype), 0)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (pixels("uint8", 1 / 255, most=16), "0.062.*, and are scaled by 0.003922. Store them as"),
        (pixels("float32", 1 / 255, most=1), "0.0039.*, and are scaled by 0.003922. Multiply"),
    ],
)
def test_numbers_that_are_scaled_without_need_get_a_word(data, word):
    with pytest.warns(UserWarning, match=word):
        Registry().get("benchmarks", "split", {}).stream(data, 0)


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (pixels("uint8", 1 / 255), {}),
        (pixels("uint8", 1 / 255, most=1), {"normalise": "channels"}),
        (pixels("float32", most=16), {}),
        (pixels("float32"), {"normalise": "channels"}),
    ],
)
def test_numbers_that_a_model_can_learn_from_need_none(data, settings, recwarn):
    Registry().get("benchmarks", "split", settings).stream(data, 0)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((8, 8, 1), True),
        ((4, 4, 1), True),
        ((6, 5, 3), True),
        ((1, 8, 8), False),
        ((3, 4, 4), False),
        ((3, 8, 1), False),
    ],
)
def test_images_with_their_channels_last_get_a_word(shape, last, recwarn):
    x, y = np.zeros((10, *shape), np.uint8), np.arange(10)
    Registry().get("benchmarks", "split", {}).stream(Dataset("made", x, y, x, y, scale=1 / 255), 0)
    assert any("their channels were last" in str(each.message) for each in recwarn.list) is last
