"""Gradients of single examples, against autograd on one example at a time."""

import torch
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

import retrograde as rg
from retrograde.testing import flat, toy_batch, toy_net


def test_cosines_are_those_of_the_gradients_of_single_examples_and_of_padding():
    net, params = toy_net("mlp-5")
    batch = toy_batch(4, padding=1)
    others = toy_batch(3, seed=1)
    found = rg.gradient_cosines(net, params, batch, others)
    ones = torch.ones_like(batch.weight)
    for row in range(4):
        mine = flat(net.grad(params, batch._replace(weight=ones).at(slice(row, row + 1))))
        for other in range(3):
            theirs = flat(net.grad(params, others.at(slice(other, other + 1))))
            assert_close(found[row, other], cosine_similarity(mine, theirs, 0))


def test_the_cosine_with_a_gradient_of_0_is_0():
    net, params = toy_net("mlp-5", tasks=4, units=torch.eye(4).tolist())
    # Nothing is learned from the only class of a task.
    batch = toy_batch(2, y=[1, 2], task=[1, 2])
    assert rg.gradient_cosines(net, params, batch, batch).tolist() == [[0, 0], [0, 0]]
