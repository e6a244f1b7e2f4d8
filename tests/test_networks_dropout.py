"""Dropout by keys: the masks, their copies in a module, `vmap`, gradients and traces."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close

from retrograde.errors import UserError
from retrograde.networks.dropout import KeyedDropout, key_names, keyed
from retrograde.training.traced_step import trace

SHARE = 0.3


def called(module, key, x):
    """A keyed module's outputs, all of whose layers have keys that follow from one number."""
    given = {name: torch.tensor(key + number) for number, name in enumerate(key_names(module))}
    return functional_call(module, given, (x,))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return keyed(
        nn.Sequential(
            nn.Linear(5, 16), nn.ReLU(inplace=True), nn.Dropout(0.5, inplace=True), nn.Linear(16, 3)
        )
    )


def test_the_share_of_zeros_is_that_of_the_layer_and_the_mean_stays():
    out = called(keyed(nn.Dropout(SHARE)), 7, torch.ones(400, 500))
    assert abs(float((out == 0).float().mean()) - SHARE) < 0.005
    assert abs(float(out.mean()) - 1) < 0.01
    assert_close(out.max(), torch.tensor(1 / (1 - SHARE)))


def test_the_same_key_gives_the_same_mask_and_another_key_another(net):
    x = torch.randn(6, 5)
    assert torch.equal(called(net, 1, x), called(net, 1, x))
    assert not torch.equal(called(net, 1, x), called(net, 2, x))


def test_the_global_generator_is_not_drawn_from(net):
    before = torch.get_rng_state()
    called(net, 1, torch.randn(6, 5, generator=torch.Generator()))
    assert torch.equal(before, torch.get_rng_state())


def test_nothing_is_dropped_in_evaluation_mode():
    x = torch.randn(4, 5)
    assert torch.equal(called(keyed(nn.Dropout(SHARE)).eval(), 3, x), x)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_layer_may_drop_nothing_or_everything(share, expected):
    out = called(keyed(nn.Dropout(share)), 3, torch.ones(4, 5))
    assert torch.equal(out, torch.full((4, 5), expected))


@pytest.mark.parametrize(
    ("layer", "shape", "mask"),
    [
        (nn.Dropout(0.5), (3, 4, 5), (3, 4, 5)),
        (nn.Dropout1d(0.5), (8, 9, 5), (8, 9, 1)),
        (nn.Dropout1d(0.5), (64, 5), (64, 1)),
        (nn.Dropout2d(0.5), (8, 9, 5, 6), (8, 9, 1, 1)),
        (nn.Dropout3d(0.5), (8, 9, 2, 3, 2), (8, 9, 1, 1, 1)),
        (nn.Dropout3d(0.5), (64, 2, 3, 2), (64, 1, 1, 1)),
    ],
)
def test_channels_are_dropped_as_a_whole_where_pytorch_does_so(layer, shape, mask):
    for out in (called(keyed(layer), 5, torch.ones(shape)), layer(torch.ones(shape))):
        first = out[tuple(slice(size) for size in mask)]
        assert torch.equal(out, first.expand(shape))
        assert 0 < float((first == 0).float().mean()) < 1


def test_a_path_of_torchvisions_stochastic_depth_is_dropped_for_each_row(torchvision):
    layer = torchvision.ops.StochasticDepth(0.5, "row")
    out = called(keyed(layer), 5, torch.ones(64, 2, 3))
    assert torch.equal(out, out[:, :1, :1].expand(64, 2, 3))
    assert set(out.unique().tolist()) == {0.0, 2.0}


@pytest.fixture
def torchvision():
    from retrograde.data.torchvision import import_torchvision

    return import_torchvision()


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        """Drop, and drop again."""
        return torch.stack([self.drop(x), self.drop(x)])


def test_a_layer_that_is_called_twice_gives_two_masks_and_the_same_again():
    module = keyed(Twice())
    one, other = called(module, 4, torch.ones(9, 9))
    assert not torch.equal(one, other)
    assert torch.equal(called(module, 4, torch.ones(9, 9))[0], one)


def test_a_layer_that_stands_in_two_places_has_a_key_for_each():
    layer = nn.Dropout(0.5)
    assert key_names(keyed(nn.Sequential(layer, nn.Sequential(layer)))) == ["0.key", "1.0.key"]


def test_the_module_itself_stays_as_it_is_and_parameters_keep_their_names():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    twin = keyed(module)
    assert type(module[1]) is nn.Dropout
    assert twin.state_dict().keys() == module.state_dict().keys()


def test_replicas_with_keys_of_their_own_do_as_in_a_loop(net):
    x = torch.randn(3, 6, 5)
    keys = torch.tensor([1, 50, 900])
    params = {
        name: torch.stack([value.detach() + i for i in range(3)])
        for name, value in net.named_parameters()
    }

    def gradient(params, key, x):
        def loss(params):
            return functional_call(net, params | {"2.key": key}, (x,)).square().mean()

        return grad(loss)(params)

    stacked = vmap(gradient)(params, keys, x)
    for i in range(3):
        one = gradient({name: value[i] for name, value in params.items()}, keys[i], x[i])
        assert_close({name: value[i] for name, value in stacked.items()}, one)


ODD = [
    (nn.AlphaDropout(0.5), "0 is AlphaDropout.*Use nn.Dropout"),
    (nn.FeatureAlphaDropout(0.5), "Use nn.Dropout"),
    (nn.RReLU(), "Use nn.LeakyReLU"),
    (nn.FractionalMaxPool2d(2, 3), "Use nn.MaxPool2d"),
    (nn.TransformerEncoderLayer(4, 2, 8), r"0\.self_attn is MultiheadAttention.*dropout=0"),
    (nn.LSTM(4, 4, num_layers=2, dropout=0.5), "LSTM.*dropout=0"),
]


@pytest.mark.parametrize(("layer", "rule"), ODD, ids=[type(layer).__name__ for layer, _ in ODD])
def test_a_layer_whose_numbers_no_key_can_give_is_refused_with_the_remedy(layer, rule):
    with pytest.raises(UserError, match=rule):
        keyed(nn.Sequential(layer))


@pytest.mark.parametrize("layer", [nn.AlphaDropout(0), nn.LSTM(4, 4), nn.MultiheadAttention(4, 2)])
def test_a_layer_that_drops_nothing_is_taken(layer):
    assert type(keyed(nn.Sequential(layer))[0]) is type(layer)


def test_a_traced_gradient_is_that_of_the_step_for_any_key(net):
    module = keyed(net)
    params = {name: value.detach() for name, value in module.named_parameters()}

    def gradient(key, x):
        given = {name: key + number for number, name in enumerate(key_names(module))}
        return grad(lambda some: functional_call(module, some | given, (x,)).square().mean())(
            params
        )

    step = vmap(gradient)
    x = torch.randn(2, 6, 5)
    traced = trace("dropout", step, (torch.tensor([1, 2]), x), "key").listed
    others = torch.tensor([70, 90])
    assert_close(traced(others, x), step(others, x), rtol=0, atol=0)
    assert not torch.equal(traced(others, x)["0.weight"], step(others - 1, x)["0.weight"])


def test_the_repr_of_a_layer_has_its_settings():
    assert repr(KeyedDropout(0.5, 2)) == "KeyedDropout(p=0.5, axes=2)"


class Power(nn.Linear):
    """A layer with an attribute that is called as the probability of dropout layers is."""

    def __init__(self, p):
        super().__init__(5, 2)
        self.p = p

    def forward(self, x):
        return super().forward(x[:, self.p] if isinstance(self.p, list) else x**self.p)


@pytest.mark.parametrize("p", [nn.Parameter(torch.full((5,), 3.0)), [4, 3, 2, 1, 0]])
def test_a_layer_of_ones_own_may_call_anything_p(p):
    layer = Power(p)
    x = torch.rand(3, 5)
    assert torch.equal(keyed(layer)(x), layer(x))
