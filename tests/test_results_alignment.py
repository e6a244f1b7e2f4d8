"""Frames, the table of alignment, and the figures of alignment and of the account, made of probes and accounts."""

import dataclasses
import random

import numpy as np
import pytest

from retrograde.metrics.alignment import alignment_frame, layer_frame, replicate_alignment
from retrograde.metrics.frames import cell_labels
from retrograde.parts.registry import Registry
from retrograde.records.record import Record
from retrograde.reporting.formats import FORMATS as RENDERED
from retrograde.reporting.plotting import FORMATS, wrapped
from retrograde.reporting.report import figures

PARTS = Registry()
FIGURES = [
    "account_parts",
    "account_stream",
    "alignment_cost",
    "alignment_stream",
    "alignment_tasks",
]
X, Y = np.eye(2)


def looks(records):
    return alignment_frame(records, cell_labels(records))


def replicates(records):
    return replicate_alignment(records, cell_labels(records))


def table(records):
    return PARTS.get("results", "alignment").table(records)


def draw(name, records):
    return PARTS.get("results", name).figure(records)


def rows(section):
    return {
        row[0].text: dict(zip(section.columns, (entry.text for entry in row), strict=True))
        for row in section.rows
    }


@pytest.fixture
def probes(make_probe):
    """Three tasks: the second conflicts with the first; the third is at right angles to both; the last task's are noisy."""
    return [
        make_probe(0, [X, -X], ceiling=[0.8, 0.6]),
        make_probe(1, [X, -X, 3 * Y], ceiling=[0.7, 0.5, 0.4]),
        make_probe(2, [X, Y, Y], ceiling=[0.6, 0.6, 0.3]),
    ]


@pytest.fixture
def records(make_probed):
    """On two benchmarks four strategies and an upper bound, three replicates each."""
    ends = {"er": 80, "finetune": 40, "gem": 70, "agem": 60, "joint": 90}
    return [
        make_probed(name, seed, (end - seed, 90, 90, 90), benchmark=benchmark, upper_bound=name == "joint", slope=end / 100)
        for benchmark in ("rotated", "split") for name, end in ends.items() for seed in range(3)
    ]  # fmt: skip


# The frames


def test_each_measure_at_each_end_is_that_computed_by_hand(make_probed, probes):
    frame = looks([make_probed(probes=probes)])
    found = {
        metric: list(zip(part.trained, part.value, strict=True))
        for metric, part in frame.groupby("metric")
    }
    next_task = [value for _, value in found.pop("next_task_cosine")]
    assert next_task == pytest.approx(
        [-1.0, np.nan], nan_ok=True
    )  # the mean of the first two vanishes
    ceilings = found.pop("ceiling")
    assert [value for _, value in ceilings] == pytest.approx([0.8, 0.6, 0.5])
    assert found == {
        "conflict_rate": [(1, 1.0), (2, 0.0)],
        "mean_pairwise_cosine": [(2, -1.0), (3, 1 / 3)],
        "ceiling_next": [(1, 0.6), (2, 0.4)],
    }


def test_a_replicate_has_means_over_the_ends_that_have_a_number(make_probed, probes):
    frame = replicates([make_probed(probes=probes)]).set_index("metric").value
    assert frame.to_dict() == pytest.approx(
        {
            "next_task_cosine": -1,
            "conflict_rate": 0.5,
            "mean_pairwise_cosine": 1 / 3,
            "ceiling": 0.5,
            "ceiling_next": 0.5,
        }
    )


def test_records_that_are_not_done_or_have_no_probes_are_left_out(make_probed, make_record):
    assert looks([make_record(), make_probed(status="diverged")]).empty
    assert list(replicates([make_record()]).columns) == list(replicates([make_probed()]).columns)


def test_each_layer_has_its_own_mean_cosine_at_the_end(make_probed, make_probe):
    last = make_probe(1, [X, X + Y], layers={"1": [4.0, 1.0, 1.0], "head": [1.0, 0.0, 0.0]})
    record = make_probed(probes=[make_probe(0, [X, Y]), last])
    frame = layer_frame([record], cell_labels([record]))
    assert dict(zip(frame.metric, frame.value, strict=True)) == pytest.approx(
        {"1": 0.5, "head": np.nan}, nan_ok=True
    )
    *_, layers = table([record]).sections
    assert layers.heading == "split — cos among seen, of each layer alone"
    assert rows(layers) == {"er": {"strategy": "er", "1": "0.500", "head": "n/a"}}


# The table


def test_the_table_has_every_measure_with_its_interval(make_probed, make_probe):
    gradients, ceilings = [[1, 0], [0.6, 0.8]], ([0.5, 0.3], [0.5, 0.4])
    made = [
        make_probed(
            seed=s,
            ends=(80, 90),
            probes=[make_probe(0, gradients, ceiling=each), make_probe(1, gradients, ceiling=each)],
        )
        for s, each in enumerate(ceilings)
    ]
    (section,) = table(
        [*made, make_probed("joint", ends=(80, 90), probes=[], upper_bound=True)]
    ).sections
    assert section.heading == "split — gradients on up to 50 test examples of each task"
    assert rows(section)["er"] == {
        "strategy": "er", "ACC %": "85.00 ± 0.00", "forgetting %": "10.00 ± 0.00", "cos next task": "0.600 ± 0.000",
        "ceiling, next task": "0.350 ± 0.635", "conflict %": "0.00 ± 0.00", "cos among seen": "0.600 ± 0.000",
        "ceiling, among seen": "0.425 ± 0.318", "n": "2",
    }  # fmt: skip
    assert (rows(section)["joint †"]["ACC %"], rows(section)["joint †"]["cos next task"]) == (
        "85.00",
        "–",
    )


def test_cosines_that_noise_hides_are_not_shown(make_probed, make_probe):
    noisy = [make_probe(0, [X, X], ceiling=[0.9, 0.1]), make_probe(1, [X, X], ceiling=[0.9, 0.1])]
    (row,) = rows(table([make_probed(ends=(80, 90), probes=noisy)]).sections[0]).values()
    assert (row["cos next task"], row["cos among seen"], row["conflict %"]) == (
        "n/a",
        "n/a",
        "0.00",
    )


def test_benchmarks_without_probes_have_no_section_and_what_diverged_has_a_row(
    make_probed, make_record
):
    lost = make_probed("wild", probes=[], status="diverged")
    (section,) = table([make_probed(), lost, make_record(benchmark="rotated")]).sections
    assert section.heading.startswith("split")
    assert (rows(section)["wild"]["cos next task"], rows(section)["wild"]["n"]) == (
        "–",
        "0 (1 diverged)",
    )


def test_probes_of_a_benchmark_that_does_not_say_how_many_examples_are_shown_all_the_same(
    make_probed,
):
    (section,) = table([make_probed(probe_examples=0)]).sections
    assert section.heading == "split — gradients on test examples of each task"


def test_cells_of_the_same_text_but_other_settings_have_rows_and_sections_of_their_own(make_probed):
    made = table(
        [
            make_probed(),
            make_probed(buffer_size=7),
            make_probed(probe_examples=7),
            make_probed(data="other"),
        ]
    )
    assert sorted(len(section.rows) for section in made.sections) == [1, 1, 2]


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_the_records_and_a_stay_on_disk_change_no_byte(records, seed):
    shuffled = random.Random(seed).sample(records, len(records))
    again = [Record.from_json(record.to_json()) for record in shuffled]
    assert all(render(table(again)) == render(table(records)) for render in RENDERED.values())


# The figures


def test_every_figure_is_drawn_from_probes_and_none_without(records, make_record):
    drawn = [name for name, _ in figures(records, PARTS)]
    assert [name for name in drawn if name.startswith(("account", "alignment"))] == FIGURES
    assert not {name for name, _ in figures([make_record()], PARTS)}.intersection(FIGURES)


def test_a_figure_has_the_same_bytes_again(records):
    few = records[::3] + records[1:3]  # one with several replicates
    first, again = (
        {name: FORMATS["svg"](f) for name, f in figures(some, PARTS)} for some in (few, few[::-1])
    )
    assert first == again


def test_figures_of_the_probes_of_one_task_are_none(make_probed, make_probe):
    assert (
        list(figures([make_probed(ends=(90,), probes=[make_probe(0, [X])], accounts=[])], PARTS))
        == []
    )


def test_figures_of_two_tasks_and_one_seed_are_those_that_have_something_to_show(make_probed):
    drawn = [name for name, _ in figures([make_probed(ends=(80, 90))], PARTS)]
    assert set(FIGURES) - set(drawn) == {"alignment_cost"}  # a run of one cost has no slope


def test_the_heat_map_has_the_mean_cosines_below_the_diagonal(make_probed, make_probe):
    turned = [
        [make_probe(0, [X, Y]), make_probe(1, [X, (0.8, 0.6)])],
        [make_probe(0, [X, Y]), make_probe(1, [X, Y])],
    ]
    figure = draw(
        "alignment_tasks",
        [make_probed(seed=s, ends=(80, 90), probes=looks) for s, looks in enumerate(turned)],
    )
    axis = figure.axes[0]
    assert axis.collections[0].get_array().tolist() == pytest.approx([0.4])  # 0.8 and 0
    assert axis.collections[0].get_offsets().tolist() == [[1, 2]]
    assert [text.get_text() for text in axis.texts] == ["0.400"]
    assert "on up to 50 test examples" in figure.get_suptitle()


def test_the_heat_map_leaves_out_what_noise_hides_and_takes_the_mean_of_the_others(
    make_probed, make_probe
):
    ends = [
        make_probe(2, [X, X, X], ceiling=[1, 1, 0]),
        make_probe(2, [X, Y, X], ceiling=[1, 0, 0]),
    ]
    axis = draw(
        "alignment_tasks", [make_probed(seed=s, probes=[end]) for s, end in enumerate(ends)]
    ).axes[0]
    assert axis.collections[0].get_offsets().tolist() == [[1, 2]]
    assert axis.collections[0].get_array().tolist() == [1]


def test_many_tasks_have_minus_signs_in_place_of_numbers(make_probed, make_probe):
    record = make_probed(ends=[90] * 8, probes=[make_probe(7, [X, -X, *[X] * 6])])
    (axis, _) = draw("alignment_tasks", [record]).axes
    x, y = axis.lines[0].get_data()
    assert not axis.texts
    assert list(zip(x[::3] + 0.2, y[::3], strict=True)) == [
        (1, 2),
        *((2, row) for row in range(3, 9)),
    ]


def test_the_stream_shows_means_against_tasks_trained_within_what_is_possible(
    make_probed, make_probe
):
    ends = [
        [make_probe(0, [X, X]), make_probe(1, [X, X, X + Y])],
        [make_probe(0, [X, -X]), make_probe(1, [X, X, X + Y])],
    ]
    figure = draw(
        "alignment_stream", [make_probed(seed=s, probes=end) for s, end in enumerate(ends)]
    )
    lines = {axis.get_ylabel(): axis.lines[0].get_xydata().ravel().tolist() for axis in figure.axes}
    assert lines["cosine, next task"] == pytest.approx([1, 0, 2, 0.5**0.5])
    assert lines["share in conflict %"] == pytest.approx([1, 50, 2, 0])
    bands = {
        axis.get_ylabel(): axis.collections[0].get_datalim(axis.transData) for axis in figure.axes
    }
    assert bands["cosine, next task"].intervaly.tolist() == [-1, 1]
    assert bands["share in conflict %"].intervaly.tolist() == [0, 100]


def test_the_account_is_stacked_from_0_and_its_parts_add_up_to_the_line(make_probed, make_account):
    parts = {"slope": -1.0, "curvature": 1.5, "remainder": 0.25}
    accounts = [[make_account(task, **parts), make_account(2, **parts)] for task in (1, 1)]
    axis = draw(
        "account_stream", [make_probed(seed=s, accounts=each) for s, each in enumerate(accounts)]
    ).axes[0]
    slope, curvature, remainder, line = axis.containers
    assert [(bar.get_y(), bar.get_height()) for bar in (slope[0], curvature[0], remainder[0])] == [
        (0, -1), (0, 1.5), (1.5, 0.25),
    ]  # fmt: skip
    assert line.lines[0].get_xydata().tolist() == [[2, 0.75], [3, 0.75]]


def test_strategies_share_a_scale_and_an_upper_bound_does_not_stretch_it(make_probed, make_account):
    def of(size):
        return [make_account(task, slope=-size, curvature=2 * size) for task in (1, 2)]

    made = [make_probed("er", accounts=of(1)), make_probed("gem", accounts=of(3))]
    made.append(make_probed("joint", accounts=of(90), upper_bound=True))
    axes = {axis.get_title(): axis for axis in draw("account_stream", made).axes}
    assert axes["er"].get_ylim() == axes["gem"].get_ylim()
    assert 6 < axes["er"].get_ylim()[1] < 7
    assert axes["joint †"].get_ylim()[1] > 180


def test_the_factors_have_a_bar_for_every_strategy_and_multiply_to_the_first(records):
    axes = draw("account_parts", records).axes[:4]
    titles = [text.get_text() for text in axes[0].get_yticklabels()]
    assert sorted(titles) == ["agem", "er", "finetune", "gem", "joint †"]
    one = [record for record in records if record.seed == 0]
    sizes = np.array(
        [[bar.get_width() for bar in axis.patches] for axis in draw("account_parts", one).axes[:4]]
    )
    assert sizes[0] == pytest.approx(sizes[1:].prod(axis=0))
    assert sizes[0].tolist() == sorted(sizes[0])


def test_cost_is_shown_against_alignment_with_every_run_centred(
    make_probed, make_probe, make_account
):
    def run(level):
        looks = [
            make_probe(i, [*[X] * (i + 1), [c, (1 - c**2) ** 0.5]])
            for i, c in enumerate((0.2, 0.6))
        ]
        books = [
            make_account(1, slope=level + 0.3, curvature=0),
            make_account(2, slope=level - 0.3, curvature=0),
        ]
        return {"probes": looks, "accounts": books}

    made = [make_probed("er", seed, **run(5 * seed)) for seed in range(2)]
    made.append(make_probed("joint", 0, upper_bound=True, **run(0)))
    (axis,) = draw("alignment_cost", made).axes
    marks, line = axis.lines
    assert marks.get_xydata() == pytest.approx(np.array([[-0.2, 0.3], [0.2, -0.3]] * 2))
    assert line.get_xydata() == pytest.approx(np.array([[-0.2, 0.3], [0.2, -0.3]]))
    assert axis.get_title().endswith("r = -1.00; negative in 2 of 2 runs")


def test_long_names_are_broken_after_commas_and_lose_nothing():
    assert (
        wrapped("split:dataset=mnist,class_order=0,1 er", 22)
        == "split:dataset=mnist,\nclass_order=0,1 er"
    )


def test_layers_of_replicates_that_were_not_probed_to_the_end_have_no_row(make_probed, make_probe):
    last = dataclasses.replace(make_probe(0, [X]), layers={"1": [1.0]})
    assert layer_frame([make_probed(ends=(90,), probes=[last])], cell_labels([make_probed()])).empty
