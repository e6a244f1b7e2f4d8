"""Models of each common family learn by fine-tuning, replay and EWC, or are refused before."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import retrograde as rg

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning"),
]


class Pooled(nn.Sequential):
    """A convolution with a layer behind it."""

    def __init__(self, shape, outputs, layer):
        pool = nn.AdaptiveAvgPool2d(2)
        super().__init__(nn.Conv2d(shape[0], 8, 3), layer, nn.ReLU(), pool, nn.Flatten())
        self.head = nn.Linear(32, outputs)


class Perceptron(nn.Sequential):
    """A hidden layer with others behind it."""

    def __init__(self, shape, outputs, *layers, wrap=lambda layer: layer):
        super().__init__(nn.Flatten(), wrap(nn.Linear(math.prod(shape), 16)), *layers, nn.ReLU())
        self.head = nn.Linear(16, outputs)


class Rows(nn.Module):
    """The rows of an image as a sequence, for a layer whose outputs are averaged."""

    def __init__(self, shape, outputs, layer):
        super().__init__()
        self.embed, self.layer = nn.Linear(shape[-1], 16), layer
        self.head = nn.Linear(16, outputs)

    def forward(self, x):
        found = self.layer(self.embed(x.flatten(1, -2)))
        return self.head((found[0] if isinstance(found, tuple) else found).mean(1))


class Attention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)


class Tied(nn.Module):
    """Two layers of one weight, and a number that is learned."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.first = nn.Linear(math.prod(shape), 16)
        self.one, self.two = nn.Linear(16, 16), nn.Linear(16, 16)
        self.two.weight = self.one.weight
        self.factor = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(16, outputs)

    def forward(self, x):
        x = self.one(self.first(x.flatten(1)).relu()).relu()
        return self.head(self.factor * self.two(x).relu())


class Frozen(Tied):
    def __init__(self, shape, outputs):
        super().__init__(shape, outputs)
        self.first.requires_grad_(False)
        self.two = self.one


class Embedded(nn.Module):
    """Takes pixels for numbers from 0 to 16 alone."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.embedding = nn.Embedding(17, 4)
        self.head = nn.Linear(4 * math.prod(shape), outputs)

    def forward(self, x):
        return self.head(self.embedding((x.flatten(1) * 16).long()).flatten(1))


def encoder(dropout=0.0):
    return nn.TransformerEncoderLayer(16, 2, 32, dropout, batch_first=True)


FAMILIES = {
    "batch_norm": lambda s, n: Pooled(s, n, nn.BatchNorm2d(8)),
    "instance_norm": lambda s, n: Pooled(s, n, nn.InstanceNorm2d(8, affine=True)),
    "tracked_norm": lambda s, n: Pooled(s, n, nn.InstanceNorm2d(8, track_running_stats=True)),
    "group_norm": lambda s, n: Pooled(s, n, nn.GroupNorm(2, 8)),
    "layer_norm": lambda s, n: Perceptron(s, n, nn.LayerNorm(16)),
    "rms_norm": lambda s, n: Perceptron(s, n, nn.RMSNorm(16)),
    "dropout": lambda s, n: Perceptron(s, n, nn.BatchNorm1d(16), nn.Dropout(0.2)),
    "lazy": lambda s, n: Perceptron(s, n, nn.LazyBatchNorm1d(), nn.LazyLinear(16)),
    "weight_norm": lambda s, n: Perceptron(s, n, wrap=parametrizations.weight_norm),
    "orthogonal": lambda s, n: Perceptron(s, n, wrap=parametrizations.orthogonal),
    "attention": lambda s, n: Rows(s, n, Attention(16, 2, batch_first=True)),
    "transformer": lambda s, n: Rows(s, n, nn.TransformerEncoder(encoder(), 2)),
    "tied": Tied,
    "frozen": Frozen,
    "embedded": Embedded,
}

REFUSED = {
    "spectral_norm": (
        lambda s, n: Perceptron(s, n, wrap=parametrizations.spectral_norm),
        "keeps something between two calls",
    ),
    "old_weight_norm": (
        lambda s, n: Perceptron(s, n, wrap=nn.utils.weight_norm),
        "use nn.utils.parametrizations.weight_norm",
    ),
    "attention_dropout": (lambda s, n: Rows(s, n, encoder(0.1)), "Build it with dropout=0"),
    "lstm": (lambda s, n: Rows(s, n, nn.LSTM(16, 16, batch_first=True)), "layer is an nn.LSTM"),
    "gru": (lambda s, n: Rows(s, n, nn.GRU(16, 16, batch_first=True)), "layer is an nn.GRU"),
}


def __getattr__(name):
    """The families as attributes of this module, by which a benchmark names its model."""
    try:
        return FAMILIES[name] if name in FAMILIES else REFUSED[name][0]
    except KeyError:
        raise AttributeError(name) from None


def run(name, strategy):
    stream = f"split:tasks=2,train_examples=40,test_examples=20,model={__file__}:{name}"
    return rg.run(stream, strategy, 2, compile="off", progress=False)


@pytest.mark.parametrize("strategy", ["finetune", "er", "ewc"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_a_common_family_learns(name, strategy):
    records = run(name, strategy)
    assert [(record.status, record.reason) for record in records] == [("done", "")] * 2
    assert len(records[0].gradients) == 2


@pytest.mark.parametrize("strategy", ["finetune", "er", "ewc"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_learn_is_refused_with_the_reason_before_training(name, strategy):
    with pytest.raises(rg.UserError, match=REFUSED[name][1]):
        run(name, strategy)
