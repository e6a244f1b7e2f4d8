"""Settings and errors: what a part accepts, how it is written, and what a person is told."""

import json
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given, strategies as st
from pydantic import Field

from retrograde.errors import UserError, nearest
from retrograde.parts.fields import Count, Ints, Limit, Rate
from retrograde.parts.part import OpenPart, Part
from retrograde.parts.spec import as_text, digest, literal, parse, write


@dataclass(frozen=True)
class Some(Part):
    """The first line.

    And more.
    """

    rate: Rate = 0.1
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    count: Count = 3
    limit: Limit = 0
    order: Ints = ()
    flag: bool = False
    kind_of: Literal["a", "b"] = "a"


PARTS = st.builds(
    Some,
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    share=st.floats(min_value=0, max_value=1, exclude_max=True),
    count=st.integers(1, 10**9),
    limit=st.integers(0, 10**9),
    order=st.lists(st.integers(-5, 99)).map(tuple),
    flag=st.booleans(),
    kind_of=st.sampled_from(["a", "b"]),
)
JSON = st.dictionaries(
    st.text(), st.integers() | st.text() | st.lists(st.floats(allow_nan=False)), max_size=5
)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "1e-3", 0.001),
        ("share", "0", 0.0),
        ("count", "12", 12),
        ("limit", "0", 0),
        ("order", "3,1, 2", (3, 1, 2)),
        ("order", "3 1 2", (3, 1, 2)),
        ("order", "", ()),
        ("order", [4, 5], (4, 5)),
        ("flag", "true", True),
        ("flag", "false", False),
        ("kind_of", "b", "b"),
    ],
)
def test_text_becomes_a_value_of_the_annotated_type(name, text, value):
    found = getattr(Some.configured({name: text}), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (n, v)
        for n in ("rate", "share")
        for v in ("nan", "inf", "-0.1", "x", "", math.nan, True, None)
    ]
    + [
        ("rate", 0),
        ("share", 1),
        ("order", 3),
        ("order", "1.5"),
        ("order", "a"),
        ("flag", "maybe"),
        ("kind_of", "c"),
    ]
    + [(n, v) for n in ("count", "limit") for v in ("-1", "1.5", "x", "", math.inf, False, None)]
    + [("count", 0)],
)
def test_a_misfit_is_refused_with_the_setting_and_the_value(name, given):
    with pytest.raises(UserError) as refusal:
        Some.configured({name: given})
    assert f"Some: {name}={given!r} is not possible. " in str(refusal.value)
    assert "Value error" not in str(refusal.value)


@dataclass(frozen=True)
class Loose(Part):
    """A plugin's settings of Python's own types."""

    number: float = 0.1
    several: tuple[float, ...] = ()
    anything: Any = None
    order: Ints = ()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("number", value) for value in ("nan", "inf", "1e999", math.nan, -math.inf)),
        *(("several", value) for value in ((1.0, math.nan), [math.inf])),
        *(
            ("anything", value)
            for value in (math.nan, {"a": [1, -math.inf]}, (complex(0, math.nan),))
        ),
        *(("order", value) for value in (f"1{400 * '0'}", [10**5000], [True], "-1000000001")),
    ],
)
def test_no_setting_is_infinite_or_beyond_the_numbers_of_the_machine(name, given):
    with pytest.raises(UserError, match=f"Loose: {name}=.* is not possible"):
        Loose.configured({name: given})


@pytest.mark.parametrize(
    "text",
    ["(" * 9999, "{{}}", "9" * 5000, "1,,2"],
    ids=["deep", "a set of sets", "digits", "commas"],
)
def test_a_text_that_python_cannot_read_as_a_value_stands_for_itself(text):
    assert literal(text) == text


@dataclass(frozen=True, kw_only=True)
class Around(OpenPart):
    """A part around a class of another library."""

    name: str = "Some"
    arguments: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "value",
    [
        5,
        "5",
        "true",
        "None",
        "a,b",
        ("a", "b"),
        (1,),
        (1, 2),
        (),
        [1, 2],
        ((1, 2), (3,)),
        ([1, 2], [3]),
        1e-5,
        "1e-5",
        None,
        "'x'",
    ],
    ids=repr,
)
def test_an_argument_of_another_library_keeps_its_type_in_texts_and_records(value):
    part = Around(arguments={"given": value})
    _, settings = parse(write("around", part.overrides()))
    assert Around.configured(settings).arguments == {"given": value}
    recorded = json.loads(json.dumps(part.settings()))
    assert Around.configured(recorded).arguments == {"given": value}


OF_NUMPY = np.int64(3)


@dataclass(frozen=True)
class Nested(Part):
    """Settings of which JSON has others: tuples in tuples, and a number of NumPy."""

    pairs: tuple[tuple[int, ...], ...] = ((1, 2), (3,))
    by_name: dict[str, Any] = field(default_factory=lambda: {"a": (1, 2)})
    count: Count = OF_NUMPY


def test_settings_are_as_their_record_has_them_at_any_depth():
    part = Nested(pairs=((4,),))
    assert part.settings() == json.loads(json.dumps(part.settings()))
    assert part.overrides() == {"pairs": [[4]]}


def test_an_error_quotes_no_more_than_the_beginning_of_a_long_value():
    with pytest.raises(UserError, match=r"count='9{99}\.\.\. \(9002 characters\)"):
        Some.configured({"count": "9" * 9000})


def test_an_unknown_setting_lists_the_nearest_one():
    with pytest.raises(UserError, match=r"Some has no setting 'cuont'\. Did you mean count\?"):
        Some.configured({"cuont": 1})


@given(PARTS)
def test_a_part_is_rebuilt_from_its_settings(part):
    assert Some.configured(part.settings()) == part


@given(PARTS)
def test_a_part_is_rebuilt_from_the_text_of_its_overrides(part):
    name, settings = parse(write("some", part.overrides()))
    assert (name, Some.configured(settings)) == ("some", part)


def test_overrides_are_the_settings_that_differ_from_their_defaults():
    assert Some().overrides() == {}
    assert Some(order=(3, 1), flag=True, rate=0.1).overrides() == {"order": [3, 1], "flag": True}


def test_a_value_that_equals_the_default_but_is_of_another_type_is_an_override():
    @dataclass(frozen=True)
    class Either(Part):
        on: int | bool = 1

    assert (Either(on=1).overrides(), Either(on=True).overrides()) == ({}, {"on": True})


def test_settings_that_are_no_fields_of_the_initialiser_are_not_listed():
    assert list(Some().settings()) == [
        "rate",
        "share",
        "count",
        "limit",
        "order",
        "flag",
        "kind_of",
    ]
    assert (Part().settings(), Part().overrides()) == ({}, {})


def test_the_summary_is_the_first_line_of_the_docstring():
    assert Some.summary() == "The first line."


@pytest.mark.parametrize(
    ("spec", "name", "settings"),
    [
        ("er", "er", {}),
        ("er:", "er", {}),
        (" er : lr=0.1, memory=3 ", "er", {"lr": "0.1", "memory": "3"}),
        ("split:class_order=3,1,2,tasks=3", "split", {"class_order": "3,1,2", "tasks": "3"}),
        ("split:dataset=/a:b/c=d.npz", "split", {"dataset": "/a:b/c=d.npz"}),
        ("er:lr=", "er", {"lr": ""}),
    ],
)
def test_a_name_and_its_settings_are_read_from_text(spec, name, settings):
    assert parse(spec) == (name, settings)


@pytest.mark.parametrize("spec", ["er:lr", "er:=1", "er:,lr=1", "er: =1"])
def test_settings_without_a_key_or_a_value_are_refused(spec):
    with pytest.raises(UserError, match="NAME:key=value"):
        parse(spec)


@pytest.mark.parametrize(
    ("value", "text"),
    [((1, 2), "1,2"), ([3], "3"), ((), ""), (True, "true"), (0.1, "0.1"), ("a", "a")],
)
def test_a_value_is_written_as_the_command_line_takes_it(value, text):
    assert as_text(value) == text


@given(JSON)
def test_a_digest_does_not_depend_on_the_order_of_keys(value):
    assert digest(dict(reversed(value.items()))) == digest(value)
    assert len(digest(value)) == 12


@given(JSON, JSON)
def test_different_values_have_different_digests(one, other):
    assert (digest(one) == digest(other)) == (
        repr(sorted(one.items())) == repr(sorted(other.items()))
    )


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("slpit", ["rotated", "split"], "Did you mean split?"),
        ("task", ["tasks", "task_s", "x"], "Did you mean tasks or task_s?"),
        ("zzz", ["split", "permuted"], "Known: permuted, split."),
        ("zzz", [], "None is known."),
    ],
)
def test_the_remedy_for_an_unknown_name_is_the_nearest_or_all(name, known, remedy):
    assert nearest(name, iter(known)) == remedy
