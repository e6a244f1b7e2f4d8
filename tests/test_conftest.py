"""The checks of annotations under which the tests run refuse what `jaxtyping.jaxtyped` refuses."""

from dataclasses import dataclass
from functools import partial

import jaxtyping
import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float
from torch import Tensor

from retrograde import losses

checked = partial(jaxtyping.jaxtyped, typechecker=beartype)
refused = partial(pytest.raises, BeartypeCallHintViolation)


@pytest.fixture
def stretched():
    """Adds zeros to the columns that it was told of at its definition."""

    def define(columns):
        @checked()
        def stretch(x: Float[Tensor, "row column"], more: int = 0) -> Float[Tensor, "row column"]:
            return torch.zeros(len(x) + more, columns)

        return stretch

    return define


def test_what_ships_is_checked():
    with refused():
        losses.cross_entropies(torch.zeros(2, 3), torch.zeros(4, dtype=torch.int64))


def test_an_argument_of_another_type_or_number_of_axes_is_refused(stretched):
    with refused():
        stretched(3)(torch.zeros(2))
    with refused():
        stretched(3)(torch.zeros(2, 3), more="one")
    with refused():
        stretched(3)(torch.zeros(2, 3, dtype=torch.int64))


def test_a_value_whose_axes_are_not_those_of_the_arguments_is_refused_at_each_definition(stretched):
    x = torch.zeros(2, 3)
    assert torch.equal(stretched(3)(x), x)
    with refused():
        stretched(4)(x)
    with refused():
        stretched(3)(x, more=1)
    assert torch.equal(stretched(3)(x), x)


def test_axes_of_a_caller_are_not_those_of_what_it_calls(stretched):
    @checked()
    def twice(x: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        stretched(5)(torch.zeros(4, 5))
        return x

    assert twice(torch.zeros(2, 3)).shape == (2, 3)


def test_fields_of_a_dataclass_are_checked_together():
    @checked()
    @dataclass(frozen=True)
    class Pair:
        x: Float[Tensor, " row"]
        y: Float[Tensor, " row"]

    assert len(Pair(torch.zeros(2), torch.zeros(2)).x) == 2
    with refused():
        Pair(torch.zeros(2), torch.zeros(3))


def test_a_type_that_is_imported_for_type_checkers_alone_is_not_checked():
    @checked()
    def first(x: "Float[Tensor, ' row']", y: "OnlyForTypeCheckers") -> "OnlyForTypeCheckers":
        return y

    assert first(torch.zeros(2), "one") == "one"
    with refused():
        first(torch.zeros(2, 3), "one")


def test_the_checks_can_be_turned_off(stretched, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert stretched(4)(torch.zeros(2, 3)).shape == (2, 4)
