"""CoPE against the paper's loss, pair by pair, on a PyTorch module and its optimiser.

The rule is that of the authors' code (model/prototypical of Mattdl/ContinualPrototypeEvolution), but for the draws
from memory: see the strategy's docstring.
"""

import copy

import pytest
import torch
from torch.testing import assert_close

from retrograde import UserError
from retrograde.parts.registry import Registry
from retrograde.testing import start, toy_batch, toy_net, toy_step

PARTS = Registry()


def make_part(**settings):
    return PARTS.find("strategies", "cope")(lr=0.3, embedding=3, **settings)


def make_net(part):
    return toy_net(modules=part.modules((6,), 5, 8), outputs=5)


def proxy_loss(embeddings, y, prototypes, temperature):
    """Equations of the paper with loops: classes, their examples, and those of other classes."""

    def near(one, other):
        return (one @ other / temperature).exp()

    total = 0
    for unit in set(y):
        own = [row for row, label in enumerate(y) if label == unit]
        rest = [row for row, label in enumerate(y) if label != unit]
        others = [value for label, value in prototypes.items() if label != unit]
        for row in own:
            z = embeddings[row]
            away = sum(near(z, other) for other in others)
            proxies = [embeddings[i].detach() for i in own if i != row] + [prototypes[unit]]
            share = sum(near(z, proxy) / (near(z, proxy) + away) for proxy in proxies)
            total = total - (share / len(proxies)).log()
        for row in rest:
            z = embeddings[row]
            away = sum(near(z, other) for other in others)
            p = near(z, prototypes[unit]) / (near(z, prototypes[unit]) + away)
            for i in own:
                pseudo = near(z, embeddings[i]) / (near(z, embeddings[i]) + away)
                total = total - (1 - (p + pseudo) / 2).log()
    return total / len(y)


@pytest.mark.parametrize(("temperature", "momentum"), [(0.5, 0.9), (1.0, 0.5)])
def test_cope_is_the_papers_algorithm_over_several_steps(temperature, momentum):
    part = make_part(temperature=temperature, momentum=momentum)
    net, params = make_net(part)
    body, embed = copy.deepcopy(net.module[:-1]), copy.deepcopy(part.modules((6,), 5, 8)["embed"])
    embed.double().load_state_dict({name: params[f"embed.{name}"] for name in ("weight", "bias")})
    optimizer = torch.optim.SGD([*body.parameters(), *embed.parameters()], lr=0.3)
    state = start(part, net, params)
    first = state.extra["prototypes"]
    assert_close(first.norm(dim=1), torch.ones(5).double())
    prototypes, random = {}, torch.Generator().manual_seed(0)
    # The first two batches have one class, of which nothing can be learned.
    for y, old in [
        ([1, 1, 1], [1, 1]),
        ([1, 1, 1], [1, 1]),
        ([2, 1, 0], [1, 1]),
        ([2, 3, 3], [0, 1]),
    ]:
        incoming = toy_batch(3, y=y, padding=1, seed=random)
        replayed = toy_batch(3, y=[*old, 4], padding=1, seed=random)
        x = torch.cat([incoming.x[:2], replayed.x[:2]])
        labels = [*y[:2], *old]
        prototypes = {unit: first[unit] for unit in labels} | prototypes
        embeddings = embed(body(x))
        embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
        if len(prototypes) > 1:
            optimizer.zero_grad()
            proxy_loss(embeddings, labels, prototypes, temperature).backward()
            optimizer.step()
        for unit in set(labels):
            rows = [row for row, label in enumerate(labels) if label == unit]
            moved = momentum * prototypes[unit] + (1 - momentum) * embeddings[rows].mean(0).detach()
            prototypes[unit] = moved / moved.norm()
        state = part.step(net, state, toy_step(incoming, replayed))
        for name, value in embed.named_parameters():
            assert_close(state.params[f"embed.{name}"], value.detach())
        for name, value in body.named_parameters():
            assert_close(state.params[name], value.detach())
        for unit, value in prototypes.items():
            assert_close(state.extra["prototypes"][unit], value)
    assert state.extra["seen"].tolist() == [1, 1, 1, 1, 0]


def test_cope_learns_nothing_from_padding_alone():
    part = make_part()
    net, params = make_net(part)
    state = start(part, net, params)
    for batch in (toy_batch(3, padding=3), toy_batch(4, y=[1, 3, 1, 3]), toy_batch(3, padding=3)):
        before, state = state, part.step(net, state, toy_step(batch))
        same = [torch.equal(state.params[name], value) for name, value in before.params.items()]
        assert all(same) == (batch.weight.sum() == 0)
        assert torch.equal(before.extra["prototypes"], state.extra["prototypes"]) == all(same)
    assert state.extra["seen"].tolist() == [0, 1, 0, 1, 0]


def test_cope_answers_with_the_nearest_prototype_of_the_classes_so_far():
    part = make_part()
    net, params = make_net(part)
    state = part.step(net, start(part, net, params), toy_step(toy_batch(4, y=[1, 3, 1, 3])))
    x = torch.randn(30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    embeddings = net.call("embed", state.params, net.features(state.params, x))
    embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
    distances = torch.cdist(embeddings, state.extra["prototypes"][[1, 3]])
    scores = part.predict(net, state, x, None)
    assert scores.argmax(1).tolist() == [(1, 3)[each] for each in distances.argmin(1).tolist()]


def test_cope_refuses_a_model_without_a_head():
    with pytest.raises(UserError, match="a module named head"):
        make_part().modules((6,), 5, None)
