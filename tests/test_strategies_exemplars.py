"""Exemplars and distillation: WA against a PyTorch module and its optimiser, and a whole run."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div
from torch.testing import assert_close

from retrograde import UserError
from retrograde.interface.strategy import ExperienceEnd
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step

PARTS = Registry()
CLASSES = ([0, 1], [2], [3, 4])
"""The new classes of each experience."""


def make_part(name, **settings):
    return PARTS.find("strategies", name)(lr=0.5, **settings)


def batches_of(number, seed=0):
    """Three batches of an experience: all classes so far, the new ones twice; the last row is padding."""
    seen = [unit for new in CLASSES[: number + 1] for unit in new]
    y = [*CLASSES[number], *seen, 0]
    random = torch.Generator().manual_seed(10 * seed + number)
    return [toy_batch(len(y), outputs=6, y=y, padding=1, seed=random) for _ in range(3)]


def cross_entropy_of_teacher(student, teacher, temperature):
    """The cross-entropy, as the entropy and the Kullback-Leibler divergence."""
    p = (teacher / temperature).softmax(1)
    divergence = kl_div((student / temperature).log_softmax(1), p, reduction="batchmean")
    return divergence - (p * p.log()).sum(1).mean()


def reference_step(module, teacher, batch, earlier, seen, temperature, lr):
    """One step of SGD on the units of the classes so far alone, padding left out."""
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    x, y = batch.x[:-1], batch.y[:-1]
    logits = module(x)[:, :seen]
    loss = cross_entropy(logits, y)
    if earlier:
        taught = teacher(x)[:, :earlier].detach()
        distilled = cross_entropy_of_teacher(logits[:, :earlier], taught, temperature)
        loss = (seen - earlier) / seen * loss + earlier / seen * distilled
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def assert_same(state, module):
    for name, value in module.named_parameters():
        assert_close(state.params[name], value.detach(), msg=name)


@pytest.mark.parametrize(("clip_head", "temperature"), [(True, 2.0), (False, 3.0)])
def test_wa_is_the_papers_algorithm_over_three_experiences(clip_head, temperature):
    net, params = toy_net(outputs=6)
    part = make_part("wa", clip_head=clip_head, temperature=temperature)
    module = copy.deepcopy(net.module)
    state, teacher, earlier = start(part, net, params), None, 0
    for number in range(3):
        seen = earlier + len(CLASSES[number])
        for batch in batches_of(number):
            reference_step(module, teacher, batch, earlier, seen, temperature, 0.5)
            if clip_head:
                module.head.weight.data.clamp_(min=0)
            state = part.step(net, state, toy_step(batch))
            assert_same(state, module)
        if earlier:
            rows = module.head.weight.data
            means = [rows[:earlier].norm(dim=1).mean(), rows[earlier:seen].norm(dim=1).mean()]
            rows[earlier:seen] *= means[0] / means[1]
        state = part.end_experience(net, state, ExperienceEnd(batch, batch))
        assert_same(state, module)
        teacher, earlier = copy.deepcopy(module), seen


def test_wa_gives_the_new_classes_the_mean_norm_of_the_old_and_changes_no_other():
    net, params = toy_net(outputs=6)
    part = make_part("wa")
    state = start(part, net, params)
    for number in range(2):
        for batch in batches_of(number):
            state = part.step(net, state, toy_step(batch))
        before = state.params["head.weight"].norm(dim=1)
        state = part.end_experience(net, state, ExperienceEnd(batch, batch))
    after = state.params["head.weight"].norm(dim=1)
    assert_close(after[2], before[:2].mean())
    assert_close(after[[0, 1, 3, 4, 5]], before[[0, 1, 3, 4, 5]])
    assert not torch.isclose(before[2], after[2])


def test_wa_learns_labels_of_an_experience_without_new_classes():
    net, params = toy_net(outputs=6)
    part = make_part("wa")
    state = start(part, net, params)
    for _ in range(2):
        for batch in batches_of(0):
            before = state.params
            state = part.step(net, state, toy_step(batch))
        state = part.end_experience(net, state, ExperienceEnd(batch, batch))
    labels = batch._replace(y=1 - batch.y)
    after = [part.step(net, state, toy_step(each)).params for each in (batch, labels)]
    assert (flat(after[0]) - flat(after[1])).abs().max() > 1e-3
    assert torch.isfinite(flat(before)).all()


def test_wa_refuses_a_model_without_a_head():
    net, params = toy_net(torch.nn.Sequential(torch.nn.Linear(6, 6)), outputs=6)
    with pytest.raises(UserError, match="no linear layer named head"):
        make_part("wa").init(net, params)
