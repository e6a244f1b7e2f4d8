"""ER-AML against a loop over incoming examples on a PyTorch module, with the same random numbers.

The rule is that of the authors' code (methods/er_aml.py and buffer.py of pclucas14/AML): see the strategy's docstring.
"""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.parts.registry import Registry
from retrograde.strategies.er_aml import drawn_pairs
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step

PARTS = Registry()


def make_part(**settings):
    return PARTS.find("strategies", "er_aml")(lr=0.5, replay_batch=3, **settings)


def picked(random, allowed):
    """The allowed row with the largest number; None if there is none."""
    return max(allowed, key=lambda row: random[row], default=None)


def contrastive_loss(module, batch, memory, randoms, temperature):
    """Each incoming example against the positives and negatives of all, row by row."""
    x, y = torch.cat([batch.x, memory.x]), [*batch.y.tolist(), *memory.y.tolist()]
    real = [row for row, weight in enumerate([*batch.weight, *memory.weight]) if weight]
    pairs = []
    for anchor in [row for row in real if row < len(batch.x)]:
        positives = [row for row in real if y[row] == y[anchor] and row != anchor]
        negatives = [row for row in real if y[row] in batch.y.tolist() and y[row] != y[anchor]]
        pair = picked(randoms[0][anchor], positives), picked(randoms[1][anchor], negatives)
        if None not in pair:
            pairs.append((anchor, *pair))
    if not pairs:
        return torch.tensor(0.0)
    embeddings = module[:-1](x)
    embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
    others = [pair[1] for pair in pairs] + [pair[2] for pair in pairs]
    losses = []
    for anchor, *_ in pairs:
        similarity = torch.stack([embeddings[anchor] @ embeddings[row] for row in others])
        shares = (similarity / temperature).exp() / (similarity / temperature).exp().sum()
        own = [
            share.log() for share, row in zip(shares, others, strict=True) if y[row] == y[anchor]
        ]
        losses.append(-sum(own) / len(own))
    return temperature / 0.07 * sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_er_aml_is_a_loop_over_incoming_examples(temperature):
    net, params = toy_net(outputs=5)
    part = make_part(temperature=temperature, candidates=8)
    module = copy.deepcopy(net.module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    state, random, highest = start(part, net, params), torch.Generator().manual_seed(0), 0
    # The last row of each is padding, in the batch with a label that counts for nothing.
    for y, old in [([1, 0, 0, 0], [0, 1]), ([2, 2, 1, 2], [0, 1]), ([3, 2, 3, 2], [0, 1, 2, 3])]:
        batch = toy_batch(4, y=y, padding=1, seed=random)
        memory_y = [old[row % len(old)] for row in range(8)]
        memory = toy_batch(8, y=memory_y, padding=1, seed=random)
        highest = max(highest, *y)
        randoms = [net.uniform(4, 12, name=name) for name in ("positive", "negative")]
        replayed = cross_entropy(module(memory.x[:3])[:, : highest + 1], memory.y[:3])
        loss = contrastive_loss(module, batch, memory, randoms, temperature) + replayed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = part.step(net, state, toy_step(batch, memory))
        for name, value in module.named_parameters():
            assert_close(state.params[name], value.detach(), msg=name)


def test_er_aml_leaves_an_example_without_a_negative_out():
    net, params = toy_net(outputs=5)
    part = make_part(candidates=4)
    alone = toy_batch(3, y=[1, 1, 1])
    memory = toy_batch(4, y=[0, 2, 0, 2], seed=1)
    changed = [
        part.step(net, start(part, net, params), toy_step(batch, memory)).params
        for batch in (alone, alone._replace(x=-alone.x))
    ]
    # The only class of the batch is pushed from no other, so its examples change nothing.
    assert flat(changed[0]).equal(flat(changed[1]))
    assert not flat(changed[0]).equal(flat(params))


def test_er_aml_draws_all_pairs_that_are_allowed():
    batch = toy_batch(2, y=[0, 1])
    memory = toy_batch(4, y=[0, 0, 1, 2], seed=1)
    labels, positives = set(), set()
    for key in range(40):
        net, _ = toy_net(outputs=5, key=key)
        anchored, contrast = drawn_pairs(net, batch, memory)
        assert anchored.tolist() == [1, 1]
        labels.add(tuple(contrast.y.tolist()))
        positives.add(float(contrast.x[0, 0]))
    # Two positives and then two negatives; class 2 is not incoming.
    assert labels == {(0, 1, 1, 0)}
    assert positives == {float(value) for value in memory.x[:2, 0]}
