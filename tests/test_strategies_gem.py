"""GEM's quadratic program against its optimality conditions and SciPy, and its step against a loop over tasks."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch.func import vmap
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.parts.registry import Registry
from retrograde.strategies._quadratic import solve_qp
from retrograde.testing import flat, followed, toy_batch, toy_net, toy_step
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()


def programs(random, size, parallel, scale):
    """Gradients of so many tasks, the more parallel the closer to 1, as the inner products that GEM's dual is made of."""
    common, own, incoming = (
        torch.randn(100, rows, 30, generator=random, dtype=torch.float64) for rows in (1, size, 1)
    )
    gradients = scale * (parallel * common + (1 - parallel) * own)
    gram = gradients @ gradients.mT + 1e-3 * torch.eye(size)
    return gram, (gradients @ (scale * (incoming - parallel * common)).mT)[..., 0]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("parallel", [0.0, 0.9, 0.999999])
@pytest.mark.parametrize("size", [1, 4, 20])
def test_the_solution_of_every_program_is_optimal(size, parallel, scale):
    """It is within its bound; the slope is nowhere below 0, and 0 where an entry is above the bound: no other has that."""
    matrix, slope = programs(torch.Generator().manual_seed(size), size, parallel, scale)
    for bound in (0.0, 0.5):
        found = vmap(lambda m, s, bound=bound: solve_qp(m, s, bound))(matrix, slope)
        terms = (matrix.abs() @ found[..., None])[..., 0] + slope.abs()
        residual = ((matrix @ found[..., None])[..., 0] + slope) / terms
        assert (found >= bound).all()
        assert (residual > -1e-8).all()
        assert (residual[found > bound].abs() < 1e-8).all()


def reference(matrix, slope, bound):
    """SciPy's: the same program as least squares, by the matrix's Cholesky factor, of what is above the bound."""
    factor = np.linalg.cholesky(matrix)
    return nnls(factor.T, -np.linalg.solve(factor, slope + bound * matrix.sum(1)))[0] + bound


def test_the_solution_is_that_of_scipy():
    above = 0
    for size in (1, 3, 7, 20):
        matrix, slope = programs(torch.Generator().manual_seed(0), size, 0.3, 1.0)
        found = vmap(lambda m, s: solve_qp(m, s, 0.1))(matrix, slope)
        for each in range(len(found)):
            assert_close(
                found[each].numpy(),
                reference(matrix[each].numpy(), slope[each].numpy(), 0.1),
                rtol=1e-6,
                atol=1e-9,
            )
        above += int((found > 0.1).sum())
    assert 0 < above < 3100


def make_step(random, stored):
    """Three incoming examples of task 3 and padding; three replayed ones of each task, `stored` of them real."""
    tasks = [3] * 4 + [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    real = [1, 1, 1, 0] + [int(place < many) for many in stored for place in range(3)]
    both = toy_batch(16, task=tasks, seed=random)._replace(weight=torch.tensor(real).double())
    return toy_step(both.at(slice(4)), both.at(slice(4, None)))


def gradient(net, params, batch, task):
    """The gradient of the mean loss on the real rows of a task; 0 if there are none."""
    own = (batch.task == task) & (batch.weight > 0)
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    loss = cross_entropy(
        torch.func.functional_call(net.module, weights, (batch.x[own],)),
        batch.y[own],
        reduction="sum",
    )
    return flat(
        dict(enumerate(torch.autograd.grad(loss / own.sum().clamp(min=1), list(weights.values()))))
    )


def moved(part, net, params, data):
    """The gradient that a step of plain SGD followed."""
    return flat(followed(part, net, params, data, part.lr))


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("stored", [(3, 3, 3, 0), (3, 2, 0, 0)])
def test_gem_follows_the_papers_algorithm(stored, margin):
    random, (net, params), turned = torch.Generator().manual_seed(1), toy_net(tasks=4), 0
    part = PARTS.find("strategies", "gem")(lr=0.5, buffer_size=12, margin=margin)
    for _ in range(20):
        data = make_step(random, stored)
        incoming = gradient(net, params, data.incoming, 3)
        earlier = torch.stack([gradient(net, params, data.replayed, task) for task in range(3)])
        against = bool((earlier @ incoming < 0).any())
        dual = reference(
            (earlier @ earlier.T + 1e-3 * torch.eye(3)).numpy(),
            (earlier @ incoming).numpy(),
            margin,
        )
        expected = incoming + against * torch.from_numpy(dual) @ earlier
        assert_close(moved(part, net, params, data), expected)
        turned += against
    assert 0 < turned < 20


def test_gem_goes_against_no_earlier_task_and_nothing_nearer_does():
    random, (net, params) = torch.Generator().manual_seed(2), toy_net(tasks=4)
    part = PARTS.find("strategies", "gem")(lr=0.5, buffer_size=12, margin=0.0, ridge=1e-12)
    for _ in range(20):
        data = make_step(random, (3, 3, 3, 0))
        incoming, found = gradient(net, params, data.incoming, 3), moved(part, net, params, data)
        earlier = torch.stack([gradient(net, params, data.replayed, task) for task in range(3)])
        assert (earlier @ found > -1e-9).all()
        others = (
            found
            + torch.randn(2000, len(found), generator=random, dtype=torch.float64)
            * 10 ** -torch.linspace(0, 4, 2000)[:, None]
        )
        allowed = others[(others @ earlier.T >= 0).all(1)]
        assert len(allowed) > 50
        assert ((allowed - incoming).norm(dim=1) > (found - incoming).norm() - 1e-9).all()


def test_gem_without_earlier_tasks_is_fine_tuning():
    (net, params), data = (
        toy_net(tasks=4),
        make_step(torch.Generator().manual_seed(0), (0, 0, 0, 0)),
    )
    found = moved(PARTS.get("strategies", "gem", {"buffer_size": "12"}), net, params, data)
    assert_close(found, gradient(net, params, data.incoming, 3))


def test_what_passes_through_the_model_is_counted_for_every_earlier_task():
    benchmark, part = Blobs(scenario="class"), PARTS.find("strategies", "gem")(buffer_size=12)
    backend = StreamReplicas(
        benchmark, part, [benchmark.stream(blobs(), 0)], [0], torch.device("cpu")
    )
    backend.warm_up("off")
    assert backend.tally == {"forward": 10 + 2 * 4, "backward": 10 + 2 * 4}
