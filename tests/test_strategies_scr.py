"""SCR against a PyTorch module, its optimiser and a loop over anchors, and its answers against NumPy.

What is tested is the rule of Mai et al. (2021) as their code has it (agents/scr.py, agents/base.py and utils/loss.py
of RaptorMai/online-continual-learning, read at 6175ca0): both views pass through the network one after the other,
every embedding is an anchor, the projector has one hidden layer as wide as the features, and means over memory and
features have norm 1. There, the first view is the image as it is, and the second a resized crop, flipped, jittered in
colour or grey, where the benchmark's `augment` changes both here; a step waits until memory holds an example; the last
incomplete batch is left out; and a class of which memory has no example gets a random mean, where it comes last here.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retrograde import UserError
from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.net import Notes
from retrograde.networks.build import build
from retrograde.optim import adam
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
CPU = torch.device("cpu")


def make_part(**settings):
    return PARTS.find("strategies", "scr")(projection=3, **settings)


def make_net(part, model="mlp-8", **settings):
    # The projector is drawn from the global generator, wherever other tests have left it.
    torch.manual_seed(0)
    return toy_net(model, modules=part.modules((6,), 4, 8), **settings)


def make_step(random, padding=0):
    """Four incoming and three replayed examples in two views."""
    incoming = toy_batch(4, padding=padding, seed=random)
    data = toy_step(incoming, toy_batch(3, padding=padding, seed=random))
    noise = torch.randn(data.combined.x.shape, generator=random, dtype=torch.float64)
    return data._replace(other_views=(data.combined.x + 0.3 * noise,))


class Twin(nn.Module):
    """The network and its projector, which start from given parameters."""

    def __init__(self, model, params):
        super().__init__()
        layers = list(model.double().named_children())
        assert layers[-1][0] == "head"
        self.body = nn.Sequential(*(layer for _, layer in layers[:-1]))
        projector = nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
        self.projector = nn.Sequential(*projector).double()
        own = self.state_dict()
        for name in own:
            key = name.removeprefix("body.")
            own[name] = params.get(key, own[name]).clone()
        self.load_state_dict(own)

    def forward(self, x):
        projected = self.projector(self.body(x))
        return projected / projected.norm(dim=1, keepdim=True)


def anchors_loss(module, data, temperature):
    """The mean over all embeddings of real examples, one anchor after the other."""
    real = data.combined.weight > 0
    images = (data.combined.x, *data.other_views)
    embeddings = torch.cat([module(x[real]) for x in images])
    labels = data.combined.y[real].repeat(len(images))
    losses = []
    for i, label in enumerate(labels):
        others = torch.arange(len(labels)) != i
        logits = (embeddings @ embeddings[i] / temperature)[others]
        positives = (labels == label)[others]
        losses.append(-logits.log_softmax(0)[positives].mean())
    return torch.stack(losses).mean()


OPTIMIZERS = {
    "sgd": (None, torch.optim.SGD),
    "adam": (adam, torch.optim.Adam),
}


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_those_of_a_plain_training_loop(optimizer, padding):
    ours, theirs = OPTIMIZERS[optimizer]
    part = make_part(lr=0.05, temperature=0.2)
    net, params = make_net(part, **({"optimizer": ours} if ours else {}))
    twin = Twin(build("mlp-8", (6,), 4, 1), params)
    state, trained = start(part, net, params), theirs(twin.parameters(), lr=0.05)
    random = torch.Generator().manual_seed(0)
    for _ in range(6):
        data = make_step(random, padding)
        state = part.step(net, state, data)
        trained.zero_grad()
        anchors_loss(twin, data, 0.2).backward()
        trained.step()
        for name, value in twin.named_parameters():
            assert_close(state.params[name.removeprefix("body.")], value.detach())
    assert (flat(state.params) - flat(params)).abs().max() > 0.05
    for name in ("head.weight", "head.bias"):
        assert state.params[name].equal(params[name])


def test_the_statistics_of_batch_normalisation_follow_both_views_in_turn():
    part = make_part(lr=0.05)
    net, params = make_net(part, build("mlpbn-8", (6,), 4, 0, True))
    twin = Twin(build("mlpbn-8", (6,), 4, 1, True), params)
    state, trained = start(part, net, params), torch.optim.SGD(twin.parameters(), lr=0.05)
    random = torch.Generator().manual_seed(0)
    for _ in range(3):
        data = make_step(random)
        net = replace(net, buffers=state.buffers, notes=Notes(statistics=state.buffers))
        state = part.step(net, state, data).replace(buffers=net.notes.statistics)
        trained.zero_grad()
        anchors_loss(twin, data, 0.07).backward()
        trained.step()
    own = {name.removeprefix("body."): value for name, value in twin.state_dict().items()}
    assert len(state.buffers) == 3
    for name, value in (state.params | state.buffers).items():
        assert name.startswith("head.") or torch.allclose(own[name], value), name


def nearest_mean(body, stored, x):
    """The class whose mean embedding is nearest, all in NumPy; `stored` are examples and their classes."""

    def lengthened(rows):
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    examples, y = stored
    features = lengthened(body(examples))
    classes = np.unique(y)
    means = np.stack([lengthened(features[y == unit].mean(0)) for unit in classes])
    distance = np.linalg.norm(lengthened(body(x))[:, None] - means, axis=2)
    return classes[distance.argmin(1)]


def test_the_answer_is_the_class_whose_mean_over_memory_is_nearest():
    part, random = make_part(lr=0.1), torch.Generator().manual_seed(0)
    net, params = make_net(part)
    state = part.step(net, start(part, net, params), make_step(random))
    memory = toy_batch(12, y=[0, 2, 3] * 4, padding=3, seed=random)
    ready = part.before_evaluation(net.in_eval_mode(), state, memory)
    x = torch.randn(60, 6, generator=random, dtype=torch.float64)
    scores = part.predict(net.in_eval_mode(), ready, x, None)

    def body(rows):
        first = rows @ state.params["1.weight"].numpy().T + state.params["1.bias"].numpy()
        return np.maximum(first, 0)

    stored = memory.x[:9].numpy(), memory.y[:9].numpy()
    expected = nearest_mean(body, stored, x.numpy())
    assert scores.argmax(1).tolist() == expected.tolist()
    assert set(expected.tolist()) == {0, 2, 3}
    assert (scores[:, 1] < scores[:, [0, 2, 3]].amin(1)).all()


def test_an_empty_memory_prefers_no_class():
    part = make_part()
    net, params = make_net(part)
    memory = toy_batch(5, padding=5)
    ready = part.before_evaluation(net, start(part, net, params), memory)
    scores = part.predict(net, ready, toy_batch(3).x, None)
    assert (scores == scores[0, 0]).all()


def test_on_a_stream_answers_come_from_the_memory_as_it_is_then():
    """Two replicates with memories and networks of their own, in and after the second experience."""
    benchmark, part = Blobs(scenario="class"), make_part(buffer_size=9, replay_batch=5, lr=0.05)
    streams = [benchmark.stream(blobs(), seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, part, streams, [0, 1], CPU)
    test = torch.from_numpy(backend.test_rows[0].array)
    for number in range(2):
        backend.learn(number, lambda _: None)
        scores = backend.scores(backend.for_prediction(), test)
        for replicate, memory in enumerate(backend.memories.held):
            stored = memory.examples[memory.filled]
            params = {name: value[replicate] for name, value in backend.state.params.items()}

            def body(rows, params=params):
                return backend.net.features(params, torch.as_tensor(rows)).numpy()

            data = blobs()
            x = data.x_test[test[replicate, :, 0].numpy()]
            expected = nearest_mean(body, (data.x_train[stored.row], stored.y), x)
            assert scores[replicate].argmax(1).tolist() == expected.tolist()
            assert len(set(expected.tolist())) > 2 * number


def test_a_model_without_a_head_is_refused():
    with pytest.raises(UserError, match="no module named head"):
        make_part().modules((6,), 4, None)
