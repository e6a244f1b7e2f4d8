"""The net: masking, weights and gradients against plain PyTorch."""

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.networks.build import build
from retrograde.networks.checks import agree, check_module, untracked
from retrograde.optim import plain
from retrograde.randomness import uniform


@pytest.fixture
def module():
    return build("mlp-7", (5,), 4, seed=0).double()


@pytest.fixture
def params(module):
    return {name: value.detach() for name, value in module.named_parameters()}


def batch(rows=6):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 5, generator=random, dtype=torch.float64)
    weight = torch.ones(rows, dtype=torch.float64)
    return Batch(x, torch.arange(rows) % 2 + 2, torch.ones(rows, dtype=torch.long), weight)


def test_the_loss_is_pytorchs_mean_cross_entropy(module, params):
    b = batch()
    assert torch.allclose(Net(module, plain()).loss(params, b), cross_entropy(module(b.x), b.y))


def test_rows_of_weight_zero_do_not_count(module, params):
    b = batch()._replace(weight=torch.tensor([1.0, 1, 1, 1, 0, 0], dtype=torch.float64))
    expected = cross_entropy(module(b.x[:4]), b.y[:4])
    assert torch.allclose(Net(module, plain()).loss(params, b), expected)


def test_a_batch_of_padding_alone_has_no_loss_and_no_gradient(module, params):
    b = batch()._replace(weight=torch.zeros(6, dtype=torch.float64))
    net = Net(module, plain())
    assert net.loss(params, b) == 0
    assert all((g == 0).all() for g in net.grad(params, b).values())


def test_the_gradient_agrees_with_finite_differences(module, params):
    net, b, step = Net(module, plain()), batch(), 1e-6
    gradient = net.grad(params, b)
    for name, value in params.items():
        nudge = torch.zeros_like(value)
        nudge.view(-1)[0] = step
        up, down = (net.loss(params | {name: value + sign * nudge}, b) for sign in (1, -1))
        assert torch.allclose((up - down) / (2 * step), gradient[name].view(-1)[0], atol=1e-8)


def test_a_given_task_leaves_other_units_out_of_loss_and_gradient(module, params):
    units = torch.tensor([[True, True, False, False], [False, False, True, True]])
    net, b = Net(module, plain(), units), batch()
    expected = cross_entropy(module(b.x)[:, 2:], b.y - 2)
    assert torch.allclose(net.loss(params, b), expected)
    assert (net.grad(params, b)["head.weight"][:2] == 0).all()


def test_a_task_that_is_not_given_masks_nothing(module, params):
    units = torch.zeros((2, 4), dtype=torch.bool)
    assert Net(module, plain(), units).logits(params, batch().x, None).isfinite().all()


def test_batch_norm_updates_its_buffers_without_touching_the_earlier_ones():
    module = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2))
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    net = Net(module, plain(), buffers=buffers)
    params = {name: value.detach() for name, value in module.named_parameters()}
    x = torch.randn(8, 5) + 3
    after = net.refreshed_buffers(params, x)
    assert torch.allclose(after["0.running_mean"], 0.1 * x.mean(0), atol=1e-6)
    assert all(torch.equal(buffers[name], value) for name, value in module.named_buffers())


def test_an_untracked_module_does_the_same_and_writes_to_no_statistics():
    module, x = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2)), torch.randn(8, 5) + 3
    module(x)
    twin = untracked(module)
    kept = {name: value.clone() for name, value in twin.named_buffers()}
    assert torch.equal(twin.eval()(x), module.eval()(x))
    assert torch.equal(twin.train()(x), module.train()(x))
    assert all(torch.equal(value, kept[name]) for name, value in twin.named_buffers())


def test_gradients_of_several_batches_are_those_of_each_where_statistics_are_kept():
    module = untracked(nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 4))).double()
    net = Net(module, plain(), buffers=dict(module.named_buffers()))
    params = {name: value.detach() for name, value in module.named_parameters()}
    both = [batch(6), batch(6)._replace(x=batch(6).x.flip(0) * 2)]
    found = net.grad_each(params, Batch(*(torch.stack(parts) for parts in zip(*both, strict=True))))
    for each, one in enumerate(both):
        expected = torch.autograd.grad(cross_entropy(module(one.x), one.y), [*module.parameters()])
        for name, value in zip(params, expected, strict=True):
            assert torch.allclose(found[name][each], value)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([[1.00001, -torch.inf, 0.0]], True),
        ([[1.1, -torch.inf, 0.0]], False),
        ([[1.0, 5.0, 0.0]], False),
        ([[1.0, -torch.inf, torch.nan]], False),
    ],
)
def test_scores_agree_up_to_rounding(other, same):
    assert agree(torch.tensor([[1.0, -torch.inf, 0.0]]), torch.tensor(other)) == same


def uniform_draw(key=5, axes=None):
    return Net(nn.Identity(), plain(), key=torch.as_tensor(key), axes=axes).uniform


def test_an_unnamed_draw_follows_from_the_key_of_the_step_alone():
    assert torch.equal(uniform_draw()(2, 3), uniform(torch.tensor(5), 2, 3))


def test_draws_of_other_names_have_no_number_in_common_and_are_unrelated():
    draws = torch.stack(
        [uniform_draw()(4000, name=name) for name in ("", "flip", "noise", "flip2")]
    )
    assert (
        len(set(draws.flatten().tolist())) > 0.999 * draws.numel()
    )  # of 2^24 values some meet by chance
    assert (torch.corrcoef(draws) - torch.eye(4)).abs().max() < 0.06


def test_a_named_draw_is_the_same_again_in_another_call_of_the_step_and_other_at_another_step():
    first, again, other = (uniform_draw(key, set())(3, name="flip") for key in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_second_draw_of_a_step_is_refused_unless_it_has_a_name_of_its_own():
    draw = uniform_draw(axes=set())
    draw(3)
    draw(3, name="noise")
    for name in ("", "noise"):
        with pytest.raises(UserError, match="name of its own"):
            draw(4, name=name)


def test_a_named_draw_is_the_same_under_vmap_and_while_a_gradient_is_taken():
    def loss(x, key):
        return (x * uniform_draw(key, set())(3, name="mask")).sum()

    def masked(key):
        return grad(loss)(torch.ones(3), key)

    for found, key in zip(vmap(masked)(torch.tensor([5, 6])), (5, 6), strict=True):
        assert torch.equal(found, uniform_draw(key)(3, name="mask"))


@pytest.mark.parametrize(
    ("module", "rule"),
    [
        (nn.Sequential(nn.Flatten(), nn.RReLU(), nn.Linear(5, 2)), "random numbers"),
        (nn.Linear(5, 3), "2 outputs"),
        (nn.Linear(4, 2), "cannot take"),
    ],
)
def test_a_module_that_cannot_serve_is_refused_with_the_reason(module, rule):
    with pytest.raises(UserError, match=rule):
        check_module(module, torch.randn(2, 5), 2)
