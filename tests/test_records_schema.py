"""A fuzzer for records: a value in a field is refused with its name, or makes a sound report."""

import copy
import json
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, event, given, settings, strategies as st

from retrograde.parts.registry import Registry
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.plasticity import Plasticity
from retrograde.records.prequential import Prequential
from retrograde.records.record import Damaged, OtherSchema, Record
from retrograde.reporting.formats import csv, latex, markdown
from retrograde.reporting.report import tables

ODD = [
    *(None, True, -1, 0, 1, 3, 1.5, -1.5, 1e300, float("nan"), float("inf"), 10**400, 2**64),
    *("", "text", "=1+1", "<script>", [], [1], [[1]], ["a"], {}, {"a": 1}, {"a": [None]}),
]
LARGE = [float("nan"), float("inf"), float("-inf"), 1e300, -1e300]
ANY_VALUE = re.compile(
    r"cell\.(benchmark|strategy)\.(settings|overrides)(\..*)?|environment\.extra|how\.note"
)
"""Fields that may have any JSON value."""
MAY_BE_NULL = {
    *("classes", "environment.cores", "experiences", "knows_ahead", "online_accuracy"),
    *("plasticity", "prequential"),
}
PARTS = Registry()
NO_NUMBER = re.compile(r"\b(nan|inf)\b", re.IGNORECASE)


@pytest.fixture(scope="session")
def documents(make_probed, make_adapted):
    """Whole records as JSON values: a stream with every field, and few-shot tasks of both kinds."""
    history = OnlineAccuracy(
        [100] * 3, [0, 0, 1, 2], [0, 500, 600, 1000], [[1], [7, 2], [5, 6, 1], [5, 5, 6]]
    )
    task_given = [[20] * 3, [90] * 3, [90] * 3, [85] * 3]
    more = {
        "online_accuracy": history,
        "correct_given_task": task_given,
        "knows_ahead": ["classes"],
        "settings": {"eval_every": 5, "scenario": "class"},
    }
    classified = make_adapted("anil", values=((4, 2), (3, 1)), classified=True)
    stream = along_stream(make_probed(**more))
    return [json.loads(record.to_json()) for record in (stream, make_adapted(), classified)]


def along_stream(record):
    """The record with what is measured along a stream of three experiences, a class in each task."""
    tests = record.test_examples
    predicted = [[sum(tests), 0, 0]] * 4
    each = [0, 1, 2]
    return replace(
        record,
        experiences=Experiences.one_per_task(3),
        classes=ClassCounts(each, each, tests, each, record.correct, predicted),
        prequential=Prequential([3, 4, 5], [9, 9, 9]),
        plasticity=Plasticity([9, 8, 7], [0.0, 0.25, 0.5], [0.1, 0.2, 0.3]),
    )


def places(value, above=()):
    """Every place in a JSON value, of each list the first."""
    if above:
        yield above
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:1])
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield from places(each, (*above, key))


def at(document, place):
    for key in place:
        document = document[key]
    return document


def read(document):
    """The record of a document, or why there is none."""
    try:
        return Record.from_json(json.dumps(document))
    except (Damaged, OtherSchema) as error:
        return str(error)


def read_with(document, place, value):
    """The same of a document with another value in one place."""
    inside = at(document, place[:-1])
    before, inside[place[-1]] = inside[place[-1]], value
    found = read(document)
    inside[place[-1]] = before
    return found


def kind(value):
    return float if type(value) is int else type(value)


@pytest.fixture
def everywhere(documents):
    """Each document with each of its places; of few-shot records only those of `adaptation`."""
    stream, *episodes = documents
    found = [(stream, place) for place in places(stream)]
    return found + [
        (each, place) for each in episodes for place in places(each) if place[0] == "adaptation"
    ]


def test_every_record_that_is_changed_here_is_whole(documents):
    assert [type(read(document)) for document in documents] == [Record] * len(documents)


def test_no_field_takes_a_value_of_another_type_and_the_line_names_the_field(everywhere):
    taken, tried = [], 0
    for document, place in everywhere:
        name = ".".join(map(str, place))
        for value in (odd for odd in ODD if kind(odd) is not kind(at(document, place))):
            if ANY_VALUE.fullmatch(name) or (value is None and name in MAY_BE_NULL):
                continue
            why, tried = read_with(document, place, value), tried + 1
            if not isinstance(why, str) or place[0] not in why or "\n" in why:
                taken.append((name, value, why))
    assert taken == []
    assert tried > 2000


def test_no_field_takes_a_number_that_is_not_finite_or_too_large_to_compute_with(everywhere):
    numbers = [
        (d, place)
        for d, place in everywhere
        if kind(at(d, place)) is float and not {"settings", "overrides"} & {*place}
    ]
    assert [
        (place, value)
        for d, place in numbers
        for value in LARGE
        if isinstance(read_with(d, place, value), Record)
    ] == []
    assert len(numbers) > 50


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400"])
@pytest.mark.parametrize("field", ['"lr":0.1', '"cores":2', '"cpu":"Test CPU"'])
def test_no_number_that_is_not_finite_hides_where_anything_may_stand(make_record, field, value):
    text = make_record().to_json()
    assert field in text
    with pytest.raises(Damaged):
        Record.from_json(text.replace(field, f'{field},"extra":[{{"a":{value}}}]'))


@pytest.mark.parametrize("name", ["replicates", "steps"])
@pytest.mark.parametrize("value", [0, -1, None, "5", [5], 1.5, True])
def test_nothing_is_divided_by_what_a_record_has_for_a_count(make_record, name, value):
    record = json.loads(make_record().to_json())
    record["how"][name] = value
    assert f"how.{name}={value!r}" in read(record)


def test_a_replicate_that_took_no_examples_has_no_time_for_each(make_record):
    counts = {"steps": 10, "incoming": 0, "replayed": 0}
    assert outcome(read(json.loads(make_record(counts=counts).to_json()))) == "reported"


def outcome(record):
    """The fate of a record: refused, or reported in tables without a NaN."""
    if isinstance(record, str):
        return "refused"
    for name, table in tables([record], PARTS):
        texts = [entry.text for section in table.sections for row in section.rows for entry in row]
        assert [text for text in texts if NO_NUMBER.search(text)] == [], name
        assert all(make(table) for make in (markdown, latex, csv))
    return "reported"


def near(value):
    """Values of the same type that are easily mistaken."""
    if value is None or isinstance(value, bool | str | dict):
        return []
    return (
        [[], value[:-1], value * 2, value[::-1]]
        if isinstance(value, list)
        else [value + 1, value - 1, -value, 0, value // 2]
    )


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_a_record_of_which_anything_was_changed_is_refused_or_makes_a_report(documents, data):
    document = copy.deepcopy(data.draw(st.sampled_from(documents)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from([*places(document)]))
        inside, key = at(document, place[:-1]), place[-1]
        if data.draw(st.booleans()):
            inside[key] = data.draw(st.sampled_from([*near(inside[key]), *ODD]))
        else:
            del inside[key]
    event(outcome(read(document)))
