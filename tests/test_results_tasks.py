"""The table and the figure of the accuracy on each task, where seeds differ in their experiences."""

import pytest

from retrograde.parts.registry import Registry
from retrograde.records.experiences import Experiences

PARTS = Registry()


@pytest.fixture
def uneven(make_record):
    """Two replicates: the first task comes back in the second one alone."""
    short = ((0, 0), (10, 0), (4, 8))
    long = (*short, (8, 2))
    return [
        make_record("er", 0, short, of=10, experiences=Experiences(2, [0, 1], [0, 1])),
        make_record("er", 1, long, of=10, experiences=Experiences(3, [0, 1], [2, 1])),
    ]


def test_a_replicate_whose_stream_is_over_counts_as_it_was_at_the_end(uneven):
    table = PARTS.get("results", "tasks").table(uneven)
    (section,) = table.sections
    assert [entry.text for entry in section.rows[0]][1:] == ["60.00", "50.00", "2"]
    after = table.tidy.set_index(["after", "task"])["mean"]
    assert after[2, 1] == pytest.approx(0.4)
    assert after[3, 2] == pytest.approx((0.8 + 0.2) / 2)


def test_the_figure_has_a_row_for_each_experience_of_the_longest_replicate(uneven):
    figure = PARTS.get("results", "accuracy_tasks").figure(uneven)
    assert figure.axes[0].images[0].get_array().shape == (3, 2)
