"""Heads in closed form: against NumPy, scikit-learn and the authors' algorithms, and in any order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import NearestCentroid

from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.strategy import ExperienceEnd
from retrograde.parts.registry import Registry
from retrograde.streams.schedule import Schedule, train_rows
from retrograde.testing import start, toy_batch, toy_net
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
CPU = torch.device("cpu")
DATA = blobs(classes=3)
BENCHMARK = Blobs(classes=3, batch_size=7)


def learned(name, upto=3, **given):
    """A strategy that has learned the first experiences, and the examples in their order."""
    strategy = PARTS.get("strategies", name, {key: str(value) for key, value in given.items()})
    stream = BENCHMARK.stream(DATA, 0)
    backend = StreamReplicas(BENCHMARK, strategy, [stream], [0], CPU)
    seen = []
    for number in range(upto):
        rows, _ = train_rows(stream, number, BENCHMARK, Schedule(), None, None, 0)
        flat = rows.reshape(-1)
        seen.append(flat[flat.real])
        backend.learn(number, lambda _: None)
    row = np.concatenate([each.row for each in seen])
    y = np.concatenate([each.y for each in seen])
    return backend, DATA.x_train[row].astype(float), y


def scores(backend):
    rows = torch.from_numpy(backend.test_rows[0].array)
    return backend.scores(backend.for_prediction(), rows)[0].numpy(), backend.test_rows[0, 0].row


@pytest.mark.parametrize("upto", [1, 3])
def test_the_nearest_mean_is_that_of_scikit_learn(upto):
    backend, x, y = learned("ncm", upto, distance="euclidean")
    found, rows = scores(backend)
    expected = NearestCentroid().fit(x, y).predict(DATA.x_test[rows])
    assert np.array_equal(found.argmax(1), expected)
    assert np.isneginf(found).sum() == (9 - 3 * upto) * len(rows)


def test_cosines_are_those_between_inputs_and_means():
    backend, x, y = learned("ncm")
    found, rows = scores(backend)
    means = np.stack([x[y == unit].mean(0) for unit in range(9)])
    tests = DATA.x_test[rows].astype(float)
    lengths = np.linalg.norm(tests, axis=1)[:, None] * np.linalg.norm(means, axis=1)
    assert np.allclose(found, tests @ means.T / lengths)


@pytest.mark.parametrize("strength", [0.01, 10.0])
def test_the_ridge_head_is_that_of_all_examples_at_once(strength):
    backend, x, y = learned("ridge", strength=strength)
    found, rows = scores(backend)
    whole = np.hstack([x, np.ones((len(x), 1))])
    head = SklearnRidge(alpha=strength, fit_intercept=False).fit(whole, np.eye(9)[y])
    tests = np.hstack([DATA.x_test[rows], np.ones((len(rows), 1))])
    assert np.allclose(found, head.predict(tests), atol=1e-6)


def test_streaming_discriminant_analysis_is_the_authors_algorithm_example_by_example():
    backend, x, y = learned("slda", shrinkage=0.01)
    size = x.shape[1]
    means, counts, covariance = np.zeros((9, size)), np.zeros(9), np.zeros((size, size))
    for seen, (example, unit) in enumerate(zip(x, y, strict=True)):
        away = example - means[unit]
        covariance = (seen * covariance + np.outer(away, away) * seen / (seen + 1)) / (seen + 1)
        means[unit] += away / (counts[unit] + 1)
        counts[unit] += 1
    precision = np.linalg.inv(0.99 * covariance + 0.01 * np.eye(size))
    weights = means @ precision
    found, rows = scores(backend)
    expected = DATA.x_test[rows] @ weights.T - 0.5 * (means * weights).sum(1)
    assert np.allclose(backend.state.extra["covariance"][0], covariance)
    assert np.allclose(found, expected)


def test_random_projections_are_followed_by_ridge_regression():
    backend, x, y = learned("ranpac", projection=40, strength=2.0)
    matrix = backend.state.extra["matrix"][0].numpy()
    found, rows = scores(backend)
    features = np.maximum(x.astype(np.float32) @ matrix, 0).astype(float)
    gram = features.T @ features + 2.0 * np.eye(40)
    head = np.linalg.solve(gram, features.T @ np.eye(9)[y])
    tests = np.maximum(DATA.x_test[rows] @ matrix, 0)
    assert np.allclose(found, tests @ head, atol=1e-4)
    assert abs(matrix.mean()) < 0.2
    assert abs(matrix.std() - 1) < 0.2


@pytest.mark.parametrize(("power", "rounds"), [(0.5, 2), (1.0, 1)])
def test_mahalanobis_distances_are_those_of_each_class_in_numpy(power, rounds):
    backend, x, y = learned("fecam", power=power, rounds=rounds, shrink_covariance=0.5)
    found, rows = scores(backend)
    tests = DATA.x_test[rows].astype(float)

    def transformed(values):
        return np.sign(values) * np.abs(values) ** power

    def lengthened(values):
        return values / np.linalg.norm(values, axis=-1, keepdims=True)

    for unit in range(9):
        own = x[y == unit]
        covariance = np.cov(transformed(own).T)
        off = ~np.eye(len(covariance), dtype=bool)
        for _ in range(rounds):
            variance, other = np.diag(covariance).mean(), covariance[off].mean()
            covariance = covariance + np.where(off, 0.5 * other, variance)
        deviation = np.sqrt(np.diag(covariance))
        precision = np.linalg.pinv(covariance / np.outer(deviation, deviation))
        away = lengthened(transformed(tests)) - lengthened(transformed(own.mean(0)))
        distance = np.einsum("nd,de,ne->n", away, precision, away)
        assert np.allclose(found[:, unit], -distance)


def test_classes_without_examples_and_with_one_have_distances_too():
    net, params = toy_net(outputs=4)
    part = PARTS.get("strategies", "fecam", {})
    examples = toy_batch(8, y=[0, 0, 0, 0, 0, 2, 1, 1], padding=2)
    end = ExperienceEnd(examples, None)
    state = part.end_experience(net, start(part, net, params), end)
    x = toy_batch(5, seed=1).x
    found = part.predict(net, part.before_evaluation(net, state, None), x, None)
    assert found[:, 0].isfinite().all()
    assert found[:, [1, 3]].isneginf().all()
    # Without a variance, the distance of the class of one example is the Euclidean one.
    x, own = (each.sign() * each.abs().sqrt() for each in (x, examples.x[5]))
    away = x / x.norm(dim=1, keepdim=True) - own / own.norm()
    assert torch.allclose(found[:, 2], -away.square().sum(1))


@pytest.mark.parametrize("name", ["ncm", "ridge"])
@given(order=st.permutations(range(10)))
@settings(max_examples=2, deadline=None)
def test_the_order_of_the_classes_makes_no_difference(name, order):
    import retrograde as rg

    text = ",".join(map(str, order))
    one, other = (
        rg.run(f"split:class_order={classes}", [name], seeds=1)[0]
        for classes in ("0,1,2,3,4,5,6,7,8,9", text)
    )
    assert sum(one.correct[-1]) == sum(other.correct[-1])


@pytest.mark.parametrize("name", ["ncm", "ridge", "slda", "fecam"])
def test_padding_and_the_size_of_batches_change_nothing(name):
    import retrograde as rg

    one, other = (
        rg.run(f"split:train_examples=100,batch_size={size}", [name], seeds=1)[0]
        for size in (7, 50)
    )
    assert one.correct == other.correct
