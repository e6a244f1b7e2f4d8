"""Exemplars and distillation: WA, BiC and LUCIR against PyTorch modules and optimisers."""

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


def bias_loss(logits, y, new, correction, decay):
    """The mean over the classes of the mean loss of their examples, and the penalty."""
    columns = [
        logits[:, k] * correction[0] + correction[1] if k in new else logits[:, k]
        for k in range(logits.shape[1])
    ]
    corrected = torch.stack(columns, dim=1)
    of_classes = [cross_entropy(corrected[y == unit], y[y == unit]) for unit in y.unique()]
    away = (correction[0] - 1) ** 2 + correction[1] ** 2
    return sum(of_classes) / len(of_classes) + decay / 2 * away


def reference_correction(logits, y, new, decay):
    """The scale and the shift by PyTorch's L-BFGS."""
    correction = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [correction],
        max_iter=500,
        tolerance_grad=1e-12,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = bias_loss(logits, y, new, correction, decay)
        value.backward()
        return value

    optimizer.step(closure)
    return correction.detach()


class Corrected(torch.nn.Module):
    """A module whose outputs of some classes are scaled and shifted."""

    def __init__(self, module, new, correction):
        super().__init__()
        self.module, self.new, self.correction = module, new, correction

    def forward(self, x):
        logits = self.module(x).clone()
        logits[:, self.new] = logits[:, self.new] * self.correction[0] + self.correction[1]
        return logits


@pytest.mark.parametrize(("decay", "temperature"), [(1e-3, 2.0), (0.1, 1.0)])
def test_bic_is_the_papers_algorithm_over_three_experiences(decay, temperature):
    net, params = toy_net(outputs=6)
    part = make_part("bic", decay=decay, temperature=temperature)
    module = copy.deepcopy(net.module)
    state, teacher, earlier = start(part, net, params), None, 0
    x = toy_batch(7, seed=99).x
    for number in range(3):
        seen = earlier + len(CLASSES[number])
        for batch in batches_of(number):
            reference_step(module, teacher, batch, earlier, seen, temperature, 0.5)
            state = part.step(net, state, toy_step(batch))
            assert_same(state, module)
        y = [unit for unit in range(seen) for _ in range(3 + unit)]
        held_out = toy_batch(len(y) + 1, outputs=6, y=[*y, 0], padding=1, seed=50 + number)
        state = part.end_experience(net, state, ExperienceEnd(batch, batch, held_out))
        correction = torch.tensor([1.0, 0.0]).double()
        if earlier:
            logits = module(held_out.x[:-1])[:, :seen].detach()
            args = logits, held_out.y[:-1], CLASSES[number]
            correction = reference_correction(*args, decay)
            assert (correction - torch.tensor([1.0, 0.0])).abs().max() > 0.01
        teacher = Corrected(copy.deepcopy(module), CLASSES[number], correction)
        scores = part.predict(net, state, x, None)
        assert_close(scores[:, :seen], teacher(x)[:, :seen].detach(), atol=1e-6, rtol=1e-6)
        assert scores[:, seen:].isneginf().all()
        earlier = seen


@pytest.mark.parametrize("gap", [0.1, 10.0, -10.0])
def test_bic_fits_its_correction_to_the_minimum_even_of_separate_classes(gap):
    from retrograde.strategies._bias_correction import fitted_correction

    net, _ = toy_net(outputs=5)
    batch = toy_batch(12, y=[0, 1, 2, 3, 4, 2] * 2, seed=3)
    # A large gap puts the right class far ahead of the others, or far behind.
    logits = 3 * torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).double()
    logits = logits + gap * torch.nn.functional.one_hot(batch.y, 5)
    found = fitted_correction(net, logits, batch, torch.tensor([0, 0, 0, 1, 1.0]), 1e-3)
    wanted = reference_correction(logits, batch.y, [3, 4], 1e-3)
    reached, lowest = (bias_loss(logits, batch.y, [3, 4], each, 1e-3) for each in (found, wanted))
    assert reached < lowest + 1e-9


def test_bic_predicts_without_the_last_correction_while_it_learns_new_classes():
    net, params = toy_net(outputs=6)
    part = make_part("bic")
    state = start(part, net, params)
    for number in range(2):
        for batch in batches_of(number):
            state = part.step(net, state, toy_step(batch))
        state = part.end_experience(net, state, ExperienceEnd(batch, batch, batch))
    x = toy_batch(7, seed=99).x
    ended = part.predict(net, state, x, None)[:, :3]
    state = part.step(net, state, toy_step(batches_of(2)[0]))
    assert not torch.allclose(ended, net.logits(params, x)[:, :3])
    assert_close(part.predict(net, state, x, None)[:, :5], net.logits(state.params, x)[:, :5])


def test_lucir_refuses_a_model_without_a_head():
    with pytest.raises(UserError, match="module named head"):
        make_part("lucir").modules((6,), 5, None)


class Cosines(torch.nn.Module):
    """A body and a cosine head, whose vectors of earlier classes are of no gradient."""

    def __init__(self, body, vectors):
        super().__init__()
        self.body = body
        self.earlier, self.rest = vectors[:0], torch.nn.Parameter(vectors.clone())
        self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def freeze(self, earlier):
        whole = torch.cat([self.earlier, self.rest.detach()])
        self.earlier, self.rest = whole[:earlier], torch.nn.Parameter(whole[earlier:].clone())

    def forward(self, x):
        features = self.body(x)
        vectors = torch.cat([self.earlier, self.rest])
        lengths = features.norm(dim=1)[:, None] * vectors.norm(dim=1)
        return features, features @ vectors.T / lengths


def lucir_step(module, teacher, optimizer, batch, numbers):
    """One step on the three losses with PyTorch's own; each exemplar has its rivals one by one."""
    earlier, seen, rivals = numbers
    x, y = batch.x[:-1], batch.y[:-1]
    features, cosines = module(x)
    loss = cross_entropy(module.scale * cosines[:, :seen], y)
    if earlier:
        ones = torch.ones(len(x))
        distances = torch.nn.CosineEmbeddingLoss()(features, teacher(x)[0].detach(), ones)
        loss = loss + 5 * (earlier / (seen - earlier)) ** 0.5 * distances
        pairs = [
            (cosines[row, label], rival)
            for row, label in enumerate(y.tolist())
            if label < earlier
            for rival in cosines[row, earlier:seen].sort(descending=True).values[:rivals]
        ]
        own, other = (torch.stack(each) for each in zip(*pairs, strict=True))
        loss = loss + torch.nn.MarginRankingLoss(margin=0.5)(own, other, torch.ones(len(pairs)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("rivals", [1, 2])
def test_lucir_is_the_papers_algorithm_over_three_experiences(rivals):
    part = make_part("lucir", rivals=rivals)
    net, params = toy_net(outputs=6, modules=part.modules((6,), 6, 8))
    module = Cosines(copy.deepcopy(net.module[:-1]), params["cosine.weight"])
    state, teacher, earlier = start(part, net, params), None, 0
    for number in range(3):
        seen = earlier + len(CLASSES[number])
        module.freeze(earlier)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
        for batch in batches_of(number):
            lucir_step(module, teacher, optimizer, batch, (earlier, seen, rivals))
            state = part.step(net, state, toy_step(batch))
            for name, value in module.body.named_parameters():
                assert_close(state.params[name], value.detach())
            vectors = torch.cat([module.earlier, module.rest.detach()])
            assert_close(state.params["cosine.weight"], vectors)
            assert_close(state.params["cosine.scale"], module.scale.detach())
        state = part.end_experience(net, state, ExperienceEnd(batch, batch))
        teacher, earlier = copy.deepcopy(module), seen
    x = toy_batch(7, seed=99).x
    scores = part.predict(net, state, x, None)
    assert_close(scores[:, :5], (module.scale * module(x)[1])[:, :5].detach())
    assert scores[:, 5:].isneginf().all()
