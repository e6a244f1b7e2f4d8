"""GeMCL: its scores are Student's t, whatever the order of the stream, and its features learn them."""

import numpy as np
import pytest
import torch
from scipy.stats import t
from torch import nn
from torch.testing import assert_close

import retrograde as rg
from retrograde import Batch, Episode
from retrograde.parts.registry import Registry
from retrograde.testing import start, toy_net, toy_step

GeMCL = Registry().find("strategies", "gemcl")


def network():
    torch.manual_seed(0)
    model = nn.Sequential()
    model.body = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
    model.head = nn.Linear(5, 4)
    return model.double()


def batch(y, seed=0, weight=None):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(len(y), 3, generator=random, dtype=torch.double)
    ones = torch.ones(len(y), dtype=torch.double)
    weight = ones if weight is None else torch.tensor(weight, dtype=torch.double)
    return Batch(x, torch.tensor(y), torch.zeros(len(y), dtype=torch.long), weight)


def densities(module, examples, x, shape, scale):
    """SciPy's Student's t with each class's posterior, summed over features."""
    embed = module.body
    with torch.no_grad():
        features, query = embed(examples.x).numpy(), embed(x).numpy()
    rows = []
    for unit in range(4):
        own = features[(examples.y.numpy() == unit) & (examples.weight.numpy() > 0)]
        if not len(own):
            rows.append(np.full(len(query), -np.inf))
            continue
        alpha = shape + len(own) / 2
        beta = scale + ((own - own.mean(0)) ** 2).sum(0) / 2
        density = t(df=2 * alpha, loc=own.mean(0), scale=np.sqrt(beta / alpha))
        rows.append(density.logpdf(query).sum(1) + query.shape[1] * np.log(2 * np.pi) / 2)
    return torch.tensor(np.stack(rows, 1))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7], [7, 2, 5, 0, 6, 3, 1, 4]])
def test_scores_are_students_t_for_every_order_and_padding_counts_nothing(order):
    strategy = GeMCL(shape=2.0, scale=0.3)
    module = network()
    net, params = toy_net(module, (3,))
    examples = batch([0, 0, 1, 1, 1, 3, 3, 1], weight=[1, 1, 1, 1, 1, 1, 1, 0])
    state = start(strategy, net, params)
    for row in order:
        state = strategy.step(net, state, toy_step(examples.at(slice(row, row + 1))))
    x = batch([0] * 40, seed=5).x
    found = strategy.predict(net, state, x, None)
    assert_close(found, densities(module, examples, x, 2.0, 0.3), rtol=1e-9, atol=1e-9)
    assert state.params is params


def test_a_pretraining_step_descends_the_loss_of_the_query():
    strategy = GeMCL(shape=2.0, scale=0.3, meta_lr=0.1)
    module = network()
    net, params = toy_net(module, (3,))
    support, query = batch([0, 0, 2, 2], 1), batch([0, 2, 2], 2)
    episode = Episode(support, query, batch([1, 3], 3))
    meta = strategy.pretraining()
    episodes = Episode(*(part.map(lambda column: column[None]) for part in episode))
    after = meta.meta_step(net, start(strategy, net, params), episodes, torch.tensor(0.0))

    def loss():
        scores = densities(module, support, query.x, 2.0, 0.3)[:, [0, 2]]
        chosen = scores.gather(1, (query.y[:, None] > 0).long())[:, 0]
        return (scores.logsumexp(1) - chosen).mean()

    for name, parameter in module.named_parameters():
        step = (params[name] - after.params[name]) / 0.1
        numeric = torch.zeros_like(step)
        for place in range(parameter.numel()):
            flat = parameter.data.view(-1)
            before = flat[place].item()
            values = []
            for shift in (1e-5, -1e-5):
                flat[place] = before + shift
                values.append(loss())
            flat[place] = before
            numeric.view(-1)[place] = (values[0] - values[1]) / 2e-5
        assert_close(step, numeric, rtol=1e-5, atol=1e-8)


def test_it_learns_classes_one_after_the_other_from_few_examples():
    random = np.random.default_rng(0)
    centres = 2 * random.normal(size=(12, 8))
    parts = []
    for count in (10, 5):
        y = np.repeat(np.arange(12), count)
        x = centres[y] + random.normal(size=(len(y), 8))
        parts += [x.astype(np.float32), y]
    (record,) = rg.run(
        "omniglot_sequence:dataset=made,split=5,2,5,test_after=2,5,pretraining_steps=200,"
        "trajectory_classes=3,model=mlp-20-20",
        "gemcl:scale=1.0",
        seeds=1,
        data={"made": rg.Dataset("made", *parts)},
        compile="off",
        progress=False,
    )
    assert record.status == "done", record.reason
    assert record.R[-1].mean() > 0.7
