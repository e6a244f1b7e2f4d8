"""C-MAML, Sync, La-MAML, La-ER and MER against loops written straight from the papers, finite differences and by hand."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde import run
from retrograde.contract.toys import Blobs, blobs
from retrograde.parts.registry import Registry
from retrograde.testing import start, toy_batch, toy_net, toy_step
from retrograde.training.columns import Columns
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
NAMES = ["1.weight", "1.bias", "head.weight", "head.bias"]
LOOKING_AHEAD = ["cmaml", "sync", "lamaml", "laer"]
RULES = {
    "released, MNIST": {"first_order": True, "trajectory": True, "nonnegative_lr": True},
    "released, CIFAR": {"first_order": False, "trajectory": True, "nonnegative_lr": False},
    "printed": {"first_order": False, "trajectory": False, "nonnegative_lr": False},
    "first order": {"first_order": True, "trajectory": False, "nonnegative_lr": False},
}


def batch_of(backend, rows):
    """The examples of some rows, as a strategy receives them."""
    examples = backend.examples_of
    return examples.batch(Columns.of(torch.from_numpy(rows.array)), {}, examples.train)


def make_net(seed=0, inputs=6):
    return toy_net(shape=(inputs,), outputs=3, seed=seed)


def make_step(random, rows=4, replayed=3, inputs=6, stored=3, real=None, scale=1):
    """Random examples; the first `stored` replayed ones and the first `real` incoming ones are no padding."""
    padding = 0 if real is None else rows - real
    incoming = toy_batch(rows, (inputs,), outputs=3, padding=padding, seed=random)
    missing = max(0, replayed - stored)
    memory = toy_batch(replayed, (inputs,), outputs=3, padding=missing, seed=random)
    return toy_step(*(batch._replace(x=scale * batch.x) for batch in (incoming, memory)))


def clip(gradients, bound):
    length = torch.sqrt(sum((g**2).sum() for g in gradients))
    return [g * torch.clamp(bound / (length + 1e-6), max=1) for g in gradients]


class Reference:
    """Algorithm 1 of Gupta et al. (2020), with autograd over lists of parameters, one replicate, no padding."""

    def __init__(self, part, name, net, params):
        self.part, self.name, self.module = part, name, net.module
        self.names = list(params)
        self.weights = [value.clone().requires_grad_() for value in params.values()]
        self.rates = [torch.full_like(w, part.inner_lr).requires_grad_() for w in self.weights]

    def loss(self, weights, x, y):
        return cross_entropy(
            torch.func.functional_call(
                self.module, dict(zip(self.names, weights, strict=True)), (x,)
            ),
            y,
        )

    def step(self, data):
        part, (x, y) = (
            self.part,
            (each[data.combined.weight > 0] for each in data.combined[:2]),
        )
        fast, losses = self.weights, []
        for row in torch.nonzero(data.incoming.weight)[:, 0]:
            inner = self.loss(fast, data.incoming.x[row : row + 1], data.incoming.y[row : row + 1])
            steps = torch.autograd.grad(
                inner, fast, create_graph=not part.first_order, retain_graph=True
            )
            if self.name == "laer" and part.inner_clip:
                steps = [g.clamp(-part.inner_clip, part.inner_clip) for g in steps]
            rates = [rate.relu() if part.nonnegative_lr else rate for rate in self.rates]
            fast = [w - rate * g for w, rate, g in zip(fast, rates, steps, strict=True)]
            losses.append(self.loss(fast, x, y))
        meta = sum(losses) / len(losses) if part.trajectory else losses[-1]
        found = torch.autograd.grad(meta, [*self.weights, *self.rates])
        self.apply(
            *(clip(each, part.clip) for each in (found[: len(fast)], found[len(fast) :])), x, y
        )

    def apply(self, weights_gradient, rates_gradient, x, y):
        if self.name == "laer":
            weights_gradient = clip(
                torch.autograd.grad(self.loss(self.weights, x, y), self.weights), self.part.clip
            )
        with torch.no_grad():
            if self.name != "cmaml":
                self.rates = [
                    (a - self.part.hyper_lr * g).requires_grad_()
                    for a, g in zip(self.rates, rates_gradient, strict=True)
                ]
            own = (
                [a.relu() for a in self.rates]
                if self.name in ("lamaml", "laer")
                else [self.part.lr] * len(self.rates)
            )
            self.weights = [
                (w - a * g).requires_grad_()
                for w, a, g in zip(self.weights, own, weights_gradient, strict=True)
            ]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", LOOKING_AHEAD)
def test_fifty_steps_equal_the_papers_algorithm(name, rule):
    random = torch.Generator().manual_seed(1)
    part, (net, params) = PARTS.find("strategies", name)(**RULES[rule], clip=0.5), make_net()
    state, reference = start(part, net, params), Reference(part, name, net, params)
    for step in range(50):
        data = make_step(random, stored=min(step, 3), real=4 - step % 2)
        state = part.step(net, state, data)
        reference.step(data)
    assert_close(list(state.params.values()), [w.detach() for w in reference.weights])
    if name != "cmaml":
        assert_close(list(state.extra.values()), [a.detach() for a in reference.rates])


def la_er(net, weights, rates, data, clamped):
    """A step of La-ER as released, with two incoming examples per inner step; counts the entries of inner gradients that are clamped."""

    def loss(at, batch):
        rows = batch.weight > 0
        logits = torch.func.functional_call(
            net.module, dict(zip(NAMES, at, strict=True)), (batch.x[rows],)
        )
        return cross_entropy(logits, batch.y[rows])

    fast = weights
    for first in (0, 2):
        found = torch.autograd.grad(loss(fast, data.incoming.at(slice(first, first + 2))), fast)
        clamped.append(sum(int((g.abs() > 2).sum()) for g in found))
        fast = [w - a * g.clamp(-2, 2) for w, a, g in zip(fast, rates, found, strict=True)]
    rates_gradient = clip(torch.autograd.grad(loss(fast, data.combined), rates), 2.0)
    rates = [
        (a - 0.1 * g).detach().requires_grad_() for a, g in zip(rates, rates_gradient, strict=True)
    ]
    plain_gradient = clip(torch.autograd.grad(loss(weights, data.combined), weights), 2.0)
    steps = zip(weights, rates, plain_gradient, strict=True)
    return [(w - a.relu() * g).detach().requires_grad_() for w, a, g in steps], rates


def test_la_er_as_it_comes_is_the_released_rule():
    random, (net, params), clamped = torch.Generator().manual_seed(11), make_net(), []
    part = PARTS.find("strategies", "laer")(inner_batch=2)
    state = start(part, net, params)
    weights = [value.clone().requires_grad_() for value in params.values()]
    rates = [torch.full_like(w, 0.1).requires_grad_() for w in weights]
    for step in range(30):
        data = make_step(random, stored=min(step, 3), scale=8)
        state = part.step(net, state, data)
        weights, rates = la_er(net, weights, rates, data, clamped)
    assert_close(list(state.params.values()), [w.detach() for w in weights])
    assert_close(list(state.extra.values()), [a.detach() for a in rates])
    assert sum(clamped) > 0
    assert any(
        (a < 0).any() for a in rates
    )  # inner steps take such a rate as it is, the parameters stand still


@pytest.mark.parametrize("rule", ["released, MNIST", "released, CIFAR"])
def test_replicates_side_by_side_in_the_engine_equal_the_papers_algorithm(rule):
    part, seeds = (
        PARTS.find("strategies", "lamaml")(**RULES[rule], buffer_size=9, replay_batch=3),
        [0, 1],
    )
    benchmark = Blobs(batch_size=4, model="mlp-8")
    streams = [benchmark.stream(blobs(), seed) for seed in seeds]
    backend = StreamReplicas(benchmark, part, streams, seeds, torch.device("cpu"))
    starts = [{name: value[i] for name, value in backend.state.params.items()} for i in seeds]
    references = [Reference(part, "lamaml", backend.net, params) for params in starts]
    again = StreamReplicas(benchmark, part, streams, seeds, torch.device("cpu"))
    for task in range(3):
        for step in again.memories.rows(task):
            for reference, rows in zip(references, step, strict=True):
                both = batch_of(again, rows)
                reference.step(toy_step(both.at(slice(4)), both.at(slice(4, None))))
        backend.learn(task, lambda _: None)
    for i, reference in enumerate(references):
        mine = [value[i] for value in backend.state.params.values()]
        assert_close(mine, [w.detach() for w in reference.weights], rtol=1e-3, atol=1e-4)


def storm(part, net, params, steps):
    """The parameters after steps of equation 4 of Wu et al. (2024), with autograd over lists."""
    reference = Reference(part, "cmaml", net, params)
    now = [value.clone().requires_grad_() for value in params.values()]
    then, direction = now, None

    def meta_gradient(weights, data):
        fast, losses = weights, []
        for row in torch.nonzero(data.incoming.weight)[:, 0]:
            one = data.incoming.at(slice(row, row + 1))
            inner = torch.autograd.grad(reference.loss(fast, one.x, one.y), fast, create_graph=True)
            inner = [g.detach() if part.first_order else g for g in inner]
            fast = [w - part.inner_lr * g for w, g in zip(fast, inner, strict=True)]
            rows = data.combined.weight > 0
            losses.append(reference.loss(fast, data.combined.x[rows], data.combined.y[rows]))
        return clip(torch.autograd.grad(sum(losses) / len(losses), weights), part.clip)

    for data in steps:
        found = meta_gradient(now, data)
        if direction is not None:
            pairs = zip(direction, meta_gradient(then, data), strict=True)
            kept = [part.momentum * (last - old) for last, old in pairs]
            found = [g + each for g, each in zip(found, kept, strict=True)]
        direction, then = found, now
        pairs = zip(now, direction, strict=True)
        now = [(w - part.lr * g).detach().requires_grad_() for w, g in pairs]
    return [value.detach() for value in now]


@pytest.mark.parametrize("first_order", [True, False])
def test_vr_mcl_equals_the_papers_equation(first_order):
    random, (net, params) = torch.Generator().manual_seed(5), make_net()
    part = PARTS.find("strategies", "vr_mcl")(
        first_order=first_order, clip=0.5, lr=0.3, momentum=0.6
    )
    steps = [make_step(random, stored=min(step, 3), real=4 - step % 2) for step in range(20)]
    state = start(part, net, params)
    for data in steps:
        state = part.step(net, state, data)
    assert_close(list(state.params.values()), storm(part, net, params, steps))


def test_cmaml_with_one_inner_step_is_replay_from_one_look_ahead():
    (net, params), data = make_net(), make_step(torch.Generator().manual_seed(2), rows=1)
    part = PARTS.find("strategies", "cmaml")(clip=0.0, lr=0.2, inner_lr=0.3)
    ahead = {name: params[name] - 0.3 * g for name, g in net.grad(params, data.incoming).items()}
    expected = {name: params[name] - 0.2 * g for name, g in net.grad(ahead, data.combined).items()}
    assert_close(part.step(net, start(part, net, params), data).params, expected)


@pytest.mark.parametrize("trajectory", [True, False])
@pytest.mark.parametrize("of", ["params", "rates"])
def test_the_meta_gradient_is_that_of_finite_differences(of, trajectory):
    (net, params), data = make_net(), make_step(torch.Generator().manual_seed(3))
    part = PARTS.find("strategies", "lamaml")(first_order=False, trajectory=trajectory, clip=0.0)
    at = {"params": params, "rates": part.rates(params)}
    found = dict(zip(at, part.meta_gradient(net, *at.values(), data), strict=True))[of]
    for name, row in (("head.weight", 0), ("1.weight", 3)):
        moved = [{**at[of], name: at[of][name].clone()} for _ in range(2)]
        for sign, each in zip((1, -1), moved, strict=True):
            each[name][row, 1] += sign * 1e-6
        up, down = (part.meta_loss(net, *({**at, of: each}).values(), data) for each in moved)
        assert_close(found[name][row, 1], (up - down) / 2e-6, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["sync", "lamaml", "laer"])
def test_rates_stand_still_where_gradients_are_zero_and_move_elsewhere(name):
    (net, params), random = make_net(), torch.Generator().manual_seed(4)
    part = PARTS.find("strategies", name)()
    state = start(part, net, params)
    for _ in range(5):
        data = make_step(random)
        for batch in data[:3]:
            batch.x[:, 2] = 0  # no gradient reaches the weights of this input
        state = part.step(net, state, data)
    still = state.extra["1.weight"][:, 2]
    assert torch.equal(still, torch.full_like(still, part.inner_lr))
    assert torch.equal(state.params["1.weight"][:, 2], params["1.weight"][:, 2])
    assert (state.extra["1.weight"][:, 0] != part.inner_lr).any()


@pytest.mark.parametrize("inner_batch", [1, 2, 4, 7])
def test_inner_steps_go_through_the_incoming_batch_in_parts(inner_batch):
    (net, params), data = make_net(), make_step(torch.Generator().manual_seed(5))
    part = PARTS.find("strategies", "cmaml")(
        inner_batch=inner_batch, trajectory=False, inner_lr=0.3
    )
    ahead = params
    for first in range(0, 4, inner_batch):
        own = data.incoming.at(slice(first, first + inner_batch))
        ahead = {name: value - 0.3 * net.grad(ahead, own)[name] for name, value in ahead.items()}
    assert_close(
        part.meta_loss(net, params, part.rates(params), data),
        net.loss(ahead, data.combined),
    )


def algorithm_1(net, params, steps, part):
    """MER as the paper writes it, for one incoming example; `steps` are its batches."""
    first = params
    for data in steps:
        before = params
        rows = (
            [*range(1, 1 + part.replay_batch), 0]
            if part.current == "last"
            else range(1 + part.replay_batch)
        )
        for row in (row for row in rows if data.combined.weight[row] > 0):
            one = data.combined.at(slice(row, row + 1))
            gradient = net.grad(params, one)
            params = {name: value - part.lr * gradient[name] for name, value in params.items()}
        params = {
            name: before[name] + part.beta * (value - before[name])
            for name, value in params.items()
        }
    return {
        name: first[name] + part.gamma * (value - first[name]) for name, value in params.items()
    }


@pytest.mark.parametrize("current", ["first", "last"])
def test_mer_equals_algorithm_1_over_several_examples(current):
    (net, params), random = make_net(), torch.Generator().manual_seed(6)
    part = PARTS.find("strategies", "mer")(
        replay_batch=3, batches=3, beta=0.3, gamma=0.5, current=current
    )
    state, expected = start(part, net, params), params
    for example in range(5):
        steps = [make_step(random, rows=1, stored=min(example, 3)) for _ in range(3)]
        for data in steps:
            state = part.step(net, state, data)
        expected = algorithm_1(net, expected, steps, part)
    assert_close(state.params, expected)


@pytest.mark.parametrize("current", ["first", "last"])
@pytest.mark.parametrize("steps", [7, 8, 9])
def test_mer_closes_the_batches_of_a_tasks_last_example_when_the_task_ends(steps, current):
    part, seeds = (
        PARTS.find("strategies", "mer")(
            replay_batch=3, batches=3, beta=0.3, gamma=0.5, current=current
        ),
        [0, 1],
    )
    benchmark = Blobs(steps=steps, model="mlp-8")
    streams = [benchmark.stream(blobs(), seed) for seed in seeds]
    backend, again = (
        StreamReplicas(benchmark, part, streams, seeds, torch.device("cpu")) for _ in range(2)
    )
    expected = [{name: value[i] for name, value in backend.state.params.items()} for i in seeds]
    for task in range(3):
        steps_of_task = again.memories.rows(task)
        for place in range(0, len(steps_of_task), 3):
            for i in seeds:
                of_example = steps_of_task[place : place + 3, i]
                batches = [batch_of(again, rows) for rows in of_example]
                steps = [toy_step(both) for both in batches]
                expected[i] = algorithm_1(backend.net, expected[i], steps, part)
        backend.learn(task, lambda _: None)
        for i in seeds:
            found = {name: value[i] for name, value in backend.state.params.items()}
            assert_close(found, expected[i], rtol=1e-4, atol=1e-5)


def test_mer_with_one_batch_and_full_steps_is_plain_sgd_on_its_examples():
    (net, params), data = make_net(), make_step(torch.Generator().manual_seed(7), rows=1)
    part = PARTS.find("strategies", "mer")(replay_batch=3, batches=1, beta=1.0, gamma=1.0)
    expected = params
    for row in range(4):
        gradient = net.grad(expected, data.combined.at(slice(row, row + 1)))
        expected = {name: value - part.lr * gradient[name] for name, value in expected.items()}
    assert_close(part.step(net, start(part, net, params), data).params, expected)


def test_mer_takes_one_example_at_a_time_and_draws_anew_for_each_batch():
    schedule = PARTS.get("strategies", "mer", {"batches": "7"}).schedule()
    assert schedule.pace(
        PARTS.get("benchmarks", "split", {"batch_size": "10", "updates_per_batch": "3"})
    ) == (
        1,
        7,
    )


@pytest.mark.parametrize("name", ["cmaml", "laer", "vr_mcl"])
def test_fixed_rates_learn_new_classes_after_the_first_ones_by_default(name):
    stream = "split:first_experiences=2,probe_examples=0"
    (record,) = run(stream, name, seeds=1, compile="off", progress=False)
    assert record.R[-1, 1] > 0.7
