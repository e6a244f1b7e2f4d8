"""Few-shot tasks: the content of tasks, read from pixels that say which image they belong to and where in it they were."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import chi2, kstest

from retrograde.benchmarks.sinusoid import Waves
from retrograde.data.dataset import Dataset
from retrograde.episodes.distribution import PARTITIONS
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.randomness import generator

FewShot, Omniglot, Sinusoid = (
    Registry().find("benchmarks", name) for name in ("fewshot", "omniglot", "sinusoid")
)
RARE = 1e-6
SPLIT = (5, 2, 3)
SIZES = {"train": 5, "validation": 2, "test": 3}
TURNS = {rotations: dict(zip(PARTITIONS, turns, strict=True)) for rotations, turns in
         {"none": (1, 1, 1), "train": (4, 1, 1), "all": (4, 4, 4)}.items()}  # fmt: skip
PIXELS = np.arange(18).reshape(2, 3, 3)


def coded(least=8, more=3, classes=10, shape=PIXELS.shape):
    """Pixel p of image i holds i times the number of pixels + p; classes have `least` images or up to `more` - 1 more."""
    y = np.random.default_rng(2).permutation(
        np.repeat(np.arange(classes), least + np.arange(classes) % more)
    )
    size = np.prod(shape)
    x = (size * np.arange(len(y))[:, None] + np.arange(size)).reshape(len(y), *shape)
    train = np.isin(
        np.arange(len(y)), np.unique(y, return_index=True)[1], invert=True
    )  # all but one of each class
    return Dataset("made", x[train], y[train], x[~train], y[~train])


DATA = coded()
CLASS = np.zeros(len(DATA.y_train) + 10, np.int64)  # of each image
for images, labels in ((DATA.x_train, DATA.y_train), (DATA.x_test, DATA.y_test)):
    CLASS[images[:, 0, 0, 0] // 18] = labels


class Seen(NamedTuple):
    """The images of tasks, their classes, and by how many quarters each is turned; all (task, example)."""

    image: np.ndarray
    kind: np.ndarray
    turn: np.ndarray
    y: np.ndarray


def seen(drawn):
    """Read the codes, and hold that every pixel of an image is where its turn puts it."""
    image = drawn.x.min((-3, -2, -1)) // 18
    turns = np.stack([np.rot90(PIXELS, quarters, (-2, -1)) for quarters in range(4)])
    match = ((drawn.x - 18 * image[..., None, None, None])[:, :, None] == turns).all((-3, -2, -1))
    assert match.any(-1).all()
    return Seen(image, CLASS[image], match.argmax(-1), drawn.y)


def source(seed=0, data=DATA, **settings):
    return FewShot(
        **{"split": SPLIT, "ways": 2, "test_queries": 1, "rotations": "none", **settings}
    ).distribution(data, seed)


def tasks(count, partition="train", shots=1, queries=1, seed=0, **settings):
    """Draw tasks and read them."""
    stream = source(seed, shots=shots, queries=queries, **settings)
    return seen(stream.draw(partition, count, shots, queries, generator(seed, "tasks")))


class Case(NamedTuple):
    """Few-shot tasks that the data can give."""

    partition: str
    seed: int
    rotations: str
    ways: int
    shots: int
    queries: int

    def settings(self):
        return {name: getattr(self, name) for name in ("rotations", "ways", "shots", "queries")}

    def tasks(self):
        """Each of four tasks on its own."""
        found = tasks(4, self.partition, seed=self.seed, **self.settings())
        return [Seen(*parts) for parts in zip(*found, strict=True)]


@st.composite
def cases(draw):
    rotations, shots = draw(st.sampled_from(sorted(TURNS))), draw(st.integers(1, 7))
    ways = draw(st.integers(2, min(SIZES[p] * TURNS[rotations][p] for p in PARTITIONS)))
    queries = draw(st.integers(1, 8 - shots))
    return Case(
        draw(st.sampled_from(PARTITIONS)), draw(st.integers(0, 99)), rotations, ways, shots, queries
    )


def own(task, label):
    """The examples of one label in one task."""
    return [part[task.y == label] for part in task]


@given(cases())
def test_support_and_query_of_a_class_never_share_an_image(case):
    for task in case.tasks():
        for label in range(case.ways):
            images = own(task, label)[0]
            assert len(set(images)) == len(images) == case.shots + case.queries


@given(cases())
def test_a_label_is_one_class_turned_one_way_in_support_and_query_and_labels_differ(case):
    for task in case.tasks():
        kinds = [set(zip(*own(task, label)[1:3], strict=True)) for label in range(case.ways)]
        assert all(len(kind) == 1 for kind in kinds)
        assert len(set.union(*kinds)) == case.ways


@given(cases())
def test_all_ways_come_in_turn_in_the_support_and_in_the_query(case):
    cut = source(**case.settings()).support(case.shots)
    assert cut == case.ways * case.shots
    for task in case.tasks():
        for part in (task.y[:cut], task.y[cut:]):
            rounds = np.sort(part.reshape(-1, case.ways), axis=1)
            assert (rounds == np.arange(case.ways)).all()


@given(cases())
def test_classes_are_turned_in_the_partitions_that_the_setting_names_and_no_others(case):
    assert max(task.turn.max() for task in case.tasks()) < TURNS[case.rotations][case.partition]


@pytest.mark.parametrize("rotations", sorted(TURNS))
@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_class_of_a_partition_comes_in_every_turn_equally_often(partition, rotations):
    found = tasks(3000, partition, rotations=rotations, seed=3)
    turns = TURNS[rotations][partition]
    _, count = np.unique(4 * found.kind + found.turn, return_counts=True)
    assert len(count) == SIZES[partition] * turns
    assert uniform(count // 2, 6000 / len(count))


def uniform(count, expected):
    """A chi-square test; drawing without replacement makes it milder."""
    return ((count - expected) ** 2 / expected).sum() < chi2.isf(RARE, len(count) - 1)


def test_the_classes_of_the_partitions_are_disjoint_and_as_many_as_the_split_says():
    for seed in range(5):
        kinds = [set(tasks(200, partition, seed=seed).kind.ravel()) for partition in PARTITIONS]
        assert [len(kind) for kind in kinds] == list(SPLIT)
        assert len(set.union(*kinds)) == 10


def test_the_classes_of_each_partition_are_drawn_from_the_seed():
    assert len({frozenset(tasks(100, "test", seed=seed).kind.ravel()) for seed in range(10)}) > 5


@pytest.mark.parametrize("rotations", ["none", "all"])
def test_a_class_gets_every_label_equally_often(rotations):
    found = tasks(
        3000, ways=3, split=(5, 3, 2) if rotations == "all" else (4, 3, 3), rotations=rotations
    )
    pairs = (4 * found.kind + found.turn) * 3 + found.y
    _, count = np.unique(pairs[:, :3], return_counts=True)
    assert len(count) == 3 * (20 if rotations == "all" else 4)
    assert uniform(count, 9000 / len(count))


def test_every_image_of_a_class_is_equally_often_support_and_query():
    found = tasks(4000, shots=2, queries=1)
    for part in (found.image[:, :4], found.image[:, 4:]):
        count = np.bincount(part.ravel(), minlength=len(CLASS))
        for kind in set(found.kind.ravel()):
            own = count[kind == CLASS]
            assert uniform(own, own.mean())


def test_tasks_drawn_together_know_nothing_of_each_other():
    first = tasks(4001, seed=1).kind[:, 0]
    _, count = np.unique(10 * first[:-1] + first[1:], return_counts=True)
    assert len(count) == 25
    assert uniform(count, 4000 / 25)


@pytest.mark.parametrize(
    "distribution",
    [source, lambda seed: Sinusoid().distribution(None, seed)],
    ids=["fewshot", "sinusoid"],
)
def test_the_same_seed_and_index_give_the_same_tasks_and_another_gives_others(distribution):
    def drawn(seed, *index):
        return distribution(seed).draw("train", 6, 2, 3, generator(seed, "tasks", *index))

    for other, alike in ((drawn(1, 4), True), (drawn(2, 4), False), (drawn(1, 5), False)):
        assert np.array_equal(drawn(1, 4).x, other.x) is alike
    assert all(np.array_equal(a, b) for a, b in zip(drawn(1, 4), drawn(1, 4), strict=True))


def test_a_drawn_task_is_no_view_of_the_dataset():
    before = DATA.x_train.copy()
    own = source(rotations="all")
    own.draw("train", 50, 2, 2, generator(0, "tasks")).x[:] = 0
    assert own.draw("train", 50, 2, 2, generator(0, "tasks")).x.any()
    assert np.array_equal(DATA.x_train, before)


def test_images_have_no_task_parameters_and_no_curve():
    drawn = source().draw("train", 3, 1, 1, generator(0, "tasks"))
    assert (drawn.parameters.shape, source().parameters, source().curve(drawn.parameters)) == (
        (3, 0),
        0,
        None,
    )


def test_omniglots_turned_characters_are_classes_of_meta_training_alone():
    data = coded(2, 1, 1623, (1, 2, 2))
    groups = Omniglot().distribution(data, 0)
    assert {p: len(group) for p, group in groups.groups.items()} == {
        "train": 1100,
        "validation": 100,
        "test": 423,
    }
    assert groups.turns == {"train": 4, "validation": 1, "test": 1}
    assert len(np.unique(np.concatenate([*groups.groups.values()]))) == 1623


TRAIN, VALIDATION = (f"as many ways as meta-{p} has classes, here" for p in ("train", "validation"))
TOO_FEW = "a class of made has 8; shots + queries is 9. Lower one of them"
MISTAKES = {
    "one way": ({"ways": 1}, "ways=1 has one, so that every prediction is right"),
    "too many ways": ({"ways": 3}, f"{VALIDATION} 2; ways=3. Lower ways or change split"),
    "too many ways to train": ({"ways": 3, "split": (2, 4, 4)}, f"{TRAIN} 2; ways=3"),
    "too many ways to test": (
        {"ways": 3, "split": (4, 4, 2)},
        "meta-test has classes, here 2; ways=3",
    ),
    "more ways than turned classes": ({"ways": 9, "rotations": "all"}, f"{VALIDATION} 8; ways=9"),
    "ways of classes turned elsewhere": (
        {"ways": 3, "rotations": "train"},
        f"{VALIDATION} 2; ways=3",
    ),
    "too many shots and queries": ({"shots": 4, "queries": 5}, TOO_FEW),
    "too many test queries": ({"test_queries": 8}, TOO_FEW),
    "too many test shots": ({"test_shots": 8, "test_queries": 1}, TOO_FEW),
    "shots that are test shots too": ({"shots": 6, "test_queries": 3}, TOO_FEW),
    "a split of too many classes": ({"split": (5, 3, 3)}, "made has 10 in all; split=5,3,3"),
    "a split in two": ({"split": (5, 5)}, "made has 10 in all; split=5,5."),
    "a split without a test": ({"split": (8, 2, 0)}, "made has 10 in all; split=8,2,0."),
    "no split": ({"split": ()}, "split gives three numbers of classes, each at least 1,"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_tasks_that_the_data_cannot_give_are_refused(mistake):
    settings, rule = MISTAKES[mistake]
    with pytest.raises(UserError) as refusal:
        source(**settings)
    assert rule in str(refusal.value)


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3)])
@pytest.mark.parametrize("rotations", ["train", "all"])
def test_examples_that_are_no_squares_are_not_turned(shape, rotations):
    with pytest.raises(
        UserError,
        match=r"Rotations need square images; .* of made have shape \(.*Use rotations=none",
    ):
        source(data=coded(shape=shape), rotations=rotations)
    drawn = source(data=coded(shape=shape), rotations="none").draw(
        "test", 2, 1, 1, generator(0, "tasks")
    )
    assert drawn.x.shape == (2, 4, *shape)


def test_all_classes_and_all_images_may_be_used():
    found = tasks(2, "validation", shots=3, queries=5, test_queries=5, split=(4, 2, 4))
    assert [len(set(images)) for images in found.image] == [16, 16]


WAVES = Sinusoid().distribution(None, 0).draw("train", 4000, 3, 2, generator(0, "tasks"))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (WAVES.parameters[:, 0], 0.1, 5),
        (WAVES.parameters[:, 1], 0, np.pi),
        (WAVES.x[:, 0, 0], -5, 5),
        (WAVES.x[:, 4, 0], -5, 5),
    ],
    ids=["amplitude", "phase", "support", "query"],
)
def test_waves_are_drawn_uniformly_from_the_ranges_of_the_paper(values, low, high):
    assert low <= values.min()
    assert values.max() <= np.float32(high)
    assert kstest(values, "uniform", (low, high - low)).pvalue > RARE


def test_a_wave_is_the_amplitude_times_the_sine_of_x_minus_the_phase():
    amplitude, phase = (WAVES.parameters[:, fact, None, None] for fact in (0, 1))
    assert WAVES.x.shape == WAVES.y.shape == (4000, 5, 1)
    assert np.allclose(WAVES.y, amplitude * np.sin(WAVES.x - phase), atol=1e-5)
    x, y = Waves().curve(WAVES.parameters[:7])
    assert (x.min(), x.max(), x.shape[1], y.shape) == (-5, 5, 1, (7, len(x), 1))
    assert np.allclose(y, amplitude[:7] * np.sin(x - phase[:7]), atol=1e-5)


def test_amplitude_phase_and_points_of_a_wave_know_nothing_of_each_other():
    columns = np.column_stack([WAVES.parameters, WAVES.x[..., 0]])
    correlation = np.corrcoef(columns.T) - np.eye(7)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
    assert Waves().support(3) == 3
