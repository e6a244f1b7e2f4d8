"""The net: masking, weights and gradients against plain PyTorch."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import kstest
from torch import nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.net import Net, Notes
from retrograde.interface.state import State
from retrograde.networks.build import build
from retrograde.networks.checks import agree, check_module, untracked
from retrograde.networks.functional import Networks
from retrograde.optim import plain
from retrograde.randomness import uniform


@pytest.fixture
def module():
    return build("mlp-7", (5,), 4, seed=0).double()


@pytest.fixture
def params(module):
    return {name: value.detach() for name, value in module.named_parameters()}


def net_of(module, **given):
    """A net of a module, whose running statistics follow gradients if it has any."""
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    networks = Networks(module, statistics=bool(buffers))
    return Net(networks, plain(), buffers=buffers, notes=Notes(statistics=buffers), **given)


def batch(rows=6):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 5, generator=random, dtype=torch.float64)
    weight = torch.ones(rows, dtype=torch.float64)
    return Batch(x, torch.arange(rows) % 2 + 2, torch.ones(rows, dtype=torch.long), weight)


def test_the_loss_is_pytorchs_mean_cross_entropy(module, params):
    b = batch()
    assert torch.allclose(net_of(module).loss(params, b), cross_entropy(module(b.x), b.y))


def test_rows_of_weight_zero_do_not_count(module, params):
    b = batch()._replace(weight=torch.tensor([1.0, 1, 1, 1, 0, 0], dtype=torch.float64))
    expected = cross_entropy(module(b.x[:4]), b.y[:4])
    assert torch.allclose(net_of(module).loss(params, b), expected)


def test_a_batch_of_padding_alone_has_no_loss_and_no_gradient(module, params):
    b = batch()._replace(weight=torch.zeros(6, dtype=torch.float64))
    net = net_of(module)
    assert net.loss(params, b) == 0
    assert all((g == 0).all() for g in net.grad(params, b).values())


def test_the_gradient_agrees_with_finite_differences(module, params):
    net, b, step = net_of(module), batch(), 1e-6
    gradient = net.grad(params, b)
    for name, value in params.items():
        nudge = torch.zeros_like(value)
        nudge.view(-1)[0] = step
        up, down = (net.loss(params | {name: value + sign * nudge}, b) for sign in (1, -1))
        assert torch.allclose((up - down) / (2 * step), gradient[name].view(-1)[0], atol=1e-8)


def test_a_given_task_leaves_other_units_out_of_loss_and_gradient(module, params):
    units = torch.tensor([[True, True, False, False], [False, False, True, True]])
    net, b = net_of(module, units=units), batch()
    expected = cross_entropy(module(b.x)[:, 2:], b.y - 2)
    assert torch.allclose(net.loss(params, b), expected)
    assert (net.grad(params, b)["head.weight"][:2] == 0).all()


def test_a_task_that_is_not_given_masks_nothing(module, params):
    units = torch.zeros((2, 4), dtype=torch.bool)
    assert net_of(module, units=units).logits(params, batch().x, None).isfinite().all()


def normalised():
    """A net with batch normalisation, its parameters, and its module as PyTorch trains it."""
    module = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 4)).double()
    params = {name: value.detach().clone() for name, value in module.named_parameters()}
    return net_of(module), params, module.train()


def other_batch():
    return batch()._replace(x=2 * batch().x.flip(0) + 3)


def statistics(net, name="running_mean"):
    return net.notes.statistics[f"0.{name}"]


@pytest.mark.parametrize("way", ["grad", "grad_of_loss", "grad_and_aux"])
def test_running_statistics_follow_gradients_as_pytorchs_follow_passes(way):
    net, params, module = normalised()
    for each in (batch(), other_batch()):
        if way == "grad":
            net.grad(params, each)
        elif way == "grad_of_loss":
            net.grad_of_loss(lambda p, each=each: net.loss(p, each), params)
        else:
            net.grad_and_aux(lambda p, each=each: (net.loss(p, each), each.y), params)
        module(each.x)
    for name, value in module.named_buffers():
        assert torch.allclose(net.notes.statistics[name], value)
    assert module[0].num_batches_tracked == 2
    assert all((net.buffers[f"0.{name}"] == value).all() for name, value in INITIAL.items())


INITIAL = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


def test_several_passes_of_one_gradient_are_followed_in_their_order():
    net, params, module = normalised()
    net.grad_of_loss(lambda p: net.loss(p, batch()) + net.loss(p, other_batch()), params)
    module(batch().x)
    module(other_batch().x)
    assert torch.allclose(statistics(net), module[0].running_mean)
    assert torch.allclose(statistics(net, "running_var"), module[0].running_var)


def test_a_gradient_of_inner_steps_follows_every_pass_on_the_way():
    net, params, module = normalised()

    def after_a_step(p):
        gradient = net.grad(p, batch())
        return net.loss({name: p[name] - 0.1 * gradient[name] for name in p}, other_batch())

    net.grad_of_loss(after_a_step, params)
    module(batch().x)
    module(other_batch().x)
    assert torch.allclose(statistics(net), module[0].running_mean)
    # They are tensors of the outside, which any later gradient may use.
    assert not statistics(net).requires_grad
    assert statistics(net).isfinite().all()


def test_running_statistics_under_vmap_are_those_of_each_replicate():
    net, params, _ = normalised()
    x, rows = torch.stack([batch().x, other_batch().x]), batch()
    buffers = {name: torch.stack([value] * 2) for name, value in net.buffers.items()}

    def mean_after(buffers, x):
        own = replace(net, buffers=buffers, notes=Notes(statistics=buffers))
        own.grad(params, rows._replace(x=x))
        return statistics(own)

    found = vmap(mean_after)(buffers, x)
    assert torch.allclose(found, 0.1 * x.mean(1))


def test_passes_without_a_gradient_of_the_net_leave_running_statistics_alone():
    net, params, _ = normalised()
    teacher = {name: value + 1 for name, value in (params | net.buffers).items()}
    net.loss(params, batch())
    net.in_eval_mode().grad(params, batch())
    net.without_statistics().grad(params, batch())
    net.grad_each(params, batch().map(lambda column: column[None]))
    net.grad(teacher, batch(), only=lambda name: name in params)
    assert statistics(net).tolist() == [0] * 5


def test_a_teacher_brings_its_own_running_statistics():
    net, params, module = normalised()
    module(other_batch().x)
    kept = {name: value.clone() for name, value in module.named_buffers()}
    state = State(params, {}, {}, buffers=kept)
    expected = module.eval()(batch().x)
    assert torch.allclose(net.in_eval_mode().logits(state.model, batch().x), expected)
    assert not torch.allclose(net.in_eval_mode().logits(params, batch().x), expected)


def test_rows_are_counted_where_they_pass_and_where_a_gradient_goes_back(module, params):
    net = net_of(module)
    net.logits(params, batch(3).x)
    net.grad(params, batch(6))
    net.grad_each(params, batch(4).map(lambda column: column[:, None]))
    assert (net.notes.forward, net.notes.backward) == (3 + 6 + 4, 6 + 4)


def test_a_gradient_within_a_gradient_is_counted_once(module, params):
    net = net_of(module)

    def after_a_step(p):
        gradient = net.grad(p, batch(2))
        return net.loss({name: p[name] - 0.1 * gradient[name] for name in p}, batch(6))

    net.grad_of_loss(after_a_step, params)
    assert (net.notes.forward, net.notes.backward) == (2 + 6, 2)


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
    net = net_of(module)
    params = {name: value.detach() for name, value in module.named_parameters()}
    both = [batch(6), batch(6)._replace(x=batch(6).x.flip(0) * 2)]
    stacked = [torch.stack(column) for column in zip(*(each[:4] for each in both), strict=True)]
    found = net.grad_each(params, Batch(*stacked))
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


def drawing(key=5, names=None):
    notes = Notes(names)
    return Net(Networks(nn.Identity()), plain(), key=torch.as_tensor(key), notes=notes)


def uniform_draw(key=5, names=None):
    return drawing(key, names).uniform


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
    draw = uniform_draw(names=set())
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


def test_normal_draws_are_standard_normal_and_unrelated_to_uniform_ones():
    normal, other = (drawing().normal(20_000, name=name) for name in ("", "noise"))
    assert kstest(normal.numpy(), "norm").pvalue > 1e-4
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    flat = uniform_draw()(20_000)
    assert torch.corrcoef(torch.stack([normal, other, flat])).triu(1).abs().max() < 0.03


def test_a_normal_and_a_uniform_draw_of_one_name_are_refused():
    net = drawing(names=set())
    net.uniform(3, name="noise")
    with pytest.raises(UserError, match="'noise' is drawn twice"):
        net.normal(3, name="noise")


def test_predictions_have_no_random_numbers():
    net = Net(Networks(nn.Identity()), plain())
    for draw in (net.uniform, net.normal):
        with pytest.raises(UserError, match="Draw them there"):
            draw(3)


def test_a_module_of_the_strategys_own_is_called_with_its_tensors(module, params):
    projector = nn.Linear(4, 3).double()
    net = Net(Networks(module, {"projector": projector}), plain())
    own = {f"projector.{name}": value.detach() for name, value in projector.named_parameters()}
    x = batch().x
    found = net.call("projector", params | own, net.logits(params | own, x))
    assert torch.allclose(found, projector(module(x)))
    assert net.model_params(params | own).keys() == params.keys()
    twice = params | {name: 2 * value for name, value in own.items()}
    assert torch.allclose(net.call("projector", twice, module(x)), 2 * found)


def test_a_module_that_nobody_gave_is_refused_with_those_that_there_are(module, params):
    net = Net(Networks(module, {"projector": nn.Linear(4, 3)}), plain())
    with pytest.raises(UserError, match="here projector; net.call was given 'gate'"):
        net.call("gate", params, batch().x)


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
