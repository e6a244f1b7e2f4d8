"""Checks of models before they train: randomness, state between calls, changed inputs."""

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from retrograde.errors import UserError
from retrograde.networks.checks import check_module, check_rows_apart

X = torch.linspace(-1, 1, 20).reshape(4, 5)


class Own(nn.Linear):
    """A layer from 5 numbers to 2, which first applies a function to its input."""

    def __init__(self, before):
        super().__init__(5, 2)
        self.before = before
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        """Apply the function, then the layer."""
        return super().forward(self.before(self, x))


def keeps(module, x):
    module.count += 1
    return x * module.count


def counts(module, x):
    module.count += 1
    return x


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 2)),
        nn.Sequential(nn.Linear(5, 2), nn.ReLU(inplace=True), nn.Dropout(0.5, inplace=True)),
    ],
)
def test_a_model_with_dropout_layers_can_be_trained_and_stays_as_it_is(module):
    before = repr(module)
    assert check_module(module, X, 2) is False
    assert repr(module) == before


def test_a_model_may_count_its_calls():
    assert check_module(Own(counts), X, 2) is True


@pytest.mark.parametrize(
    ("module", "rule"),
    [
        (Own(lambda _, x: dropout(x)), "nn.Dropout instead of functional.dropout"),
        (Own(lambda _, x: x + torch.rand(x.shape)), "draws random numbers"),
        (Own(keeps), "keeps something between two calls"),
        (Own(lambda _, x: x.relu_()), r"Own.forward \(test_networks_checks.py:\d+\) changes it in"),
        (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 2)), "inplace=False"),
        (nn.Sequential(nn.RReLU(), nn.Linear(5, 2)), "Use nn.LeakyReLU"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_with_the_remedy(module, rule):
    with pytest.raises(UserError, match=rule):
        check_module(module, X, 2)
    assert torch.equal(X, torch.linspace(-1, 1, 20).reshape(4, 5))


class Unregistered(nn.Linear):
    """A layer from 5 numbers to 2, before which a list scales them: by a parameter, or a layer."""

    def __init__(self, scales):
        super().__init__(5, 2)
        self.scales = scales

    def forward(self, x):
        scale = self.scales[0]
        return super().forward(x * (scale(x) if isinstance(scale, nn.Module) else scale))


@pytest.mark.parametrize("scale", [nn.Parameter(torch.ones(5)), nn.Linear(5, 5)])
def test_parameters_in_a_plain_list_are_refused_and_registered_ones_are_not(scale):
    with pytest.raises(UserError, match=r"Unregistered.forward .*nn.ParameterList or nn.ModuleLi"):
        check_module(Unregistered([scale]), X, 2)
    several = nn.ModuleList if isinstance(scale, nn.Module) else nn.ParameterList
    assert check_module(Unregistered(several([scale])), X, 2) is False


def test_a_constant_in_a_plain_list_needs_no_place_of_its_own():
    assert check_module(Unregistered([torch.ones(5)]), X, 2) is False


class Gives(nn.Linear):
    """A layer from 5 numbers to 2, whose outputs a function changes."""

    def __init__(self, after):
        super().__init__(5, 2)
        self.after = after

    def forward(self, x):
        return self.after(super().forward(x))


def test_outputs_that_are_no_numbers_may_diverge_later():
    assert check_module(Gives(lambda out: out * torch.nan), X, 2) is False


@pytest.mark.parametrize("change", [torch.Tensor.long, torch.Tensor.cfloat])
def test_outputs_that_are_not_real_are_refused(change):
    with pytest.raises(UserError, match=r"Gives.forward .*gave torch\.\w+64"):
        check_module(Gives(change), X, 2)


def test_a_model_that_drops_the_axis_of_a_single_row_is_refused():
    with pytest.raises(UserError, match=r"Gives.forward .*gave shape \(2,\), wanted \(1, 2\)"):
        check_rows_apart(Gives(torch.Tensor.squeeze), X, "mine")
    check_rows_apart(Gives(lambda out: out[..., None].squeeze(-1)), X, "mine")
