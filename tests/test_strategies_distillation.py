"""DER, DER++, FDR and LwF against loops written from the papers, and the limits in which they are fine-tuning or replay."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss
from torch.testing import assert_close
from torch.utils._pytree import tree_map

from retrograde.contract.strategies import trace
from retrograde.contract.toys import Blobs, blobs
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import torch_seed
from retrograde.streams.schedule import train_rows
from retrograde.testing import toy_step
from retrograde.training.columns import Columns
from retrograde.training.stream_replicas import StreamReplicas

PARTS, DATA, CPU = Registry(), blobs(), torch.device("cpu")
X = torch.from_numpy(DATA.x_train)


class Loop:
    """A plain PyTorch loop along a stream; what is kept with an example is looked up by the example, not by a slot."""

    def __init__(self, part, benchmark, seed):
        self.part, self.benchmark, self.seed = part, benchmark, seed
        self.stream = benchmark.stream(DATA, seed)
        self.model = build(
            benchmark.model, DATA.shape, self.stream.units.shape[1], torch_seed(seed, "weights")
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), part.lr)
        self.kept = {}
        self.teacher, self.old, self.met = None, set(), set()

    def run(self):
        memory = self.part.remember()
        held = memory.empty() if memory else None
        for number, task in enumerate(self.stream.tasks):
            rows, held = train_rows(
                self.stream, number, self.benchmark, self.part.schedule(), memory, held, self.seed
            )
            for step in rows:
                new, old = step[: self.benchmark.batch], step[self.benchmark.batch :]
                self.step(new[new.real], old)
            self.end_task(task)
        return torch.cat([value.detach().flatten() for value in self.model.parameters()])

    def descend(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def weighed(self, now, past, new):
        """Their sum, in which arrivals count 1 part in t where the benchmark weighs by tasks."""
        of_now, of_past = self.shares(new)
        return of_now * now + of_past * past

    def shares(self, new):
        if self.benchmark.weighting == "examples":
            return 1, 1
        share = 1 / (1 + int(new.task[0]))
        return share, 1 - share

    def keep(self, rows, outputs):
        self.kept |= dict(zip(rows.tolist(), outputs.detach(), strict=True))

    def wanted(self, old):
        return torch.stack([self.kept[row] for row in old.row.tolist()])

    def end_task(self, task):
        pass


def labels(rows):
    return torch.from_numpy(rows.y.copy())


class DER(Loop):
    """Algorithm 1."""

    def step(self, new, old):
        outputs, old = self.model(X[new.row]), old[old.real]
        past = (
            self.part.alpha * mse_loss(self.model(X[old.row]), self.wanted(old)) if len(old) else 0
        )
        self.descend(self.weighed(cross_entropy(outputs, labels(new)), past, new))
        self.keep(new.row, outputs)


class DERpp(Loop):
    """Algorithm 2."""

    def step(self, new, old):
        outputs = self.model(X[new.row])
        drawn = self.part.replay_batch
        dark, labelled = (half[half.real] for half in (old[:drawn], old[drawn:]))
        past = 0
        if len(dark):
            past = self.part.alpha * mse_loss(self.model(X[dark.row]), self.wanted(dark))
            past = past + self.part.beta * cross_entropy(
                self.model(X[labelled.row]), labels(labelled)
            )
        self.descend(self.weighed(cross_entropy(outputs, labels(new)), past, new))
        self.keep(new.row, outputs)


class FDR(Loop):
    """Steps on arrivals, and on the distance of the predictions from those at the end of their task."""

    def step(self, new, old):
        old, (of_now, of_past) = old[old.real], self.shares(new)
        self.descend(of_now * cross_entropy(self.model(X[new.row]), labels(new)))
        if len(old):
            gap = self.model(X[old.row]).softmax(1) - self.wanted(old).softmax(1)
            self.descend(of_past * self.part.strength * gap.norm(dim=1).mean())

    def end_task(self, task):
        rows = torch.from_numpy(task.train.row)
        self.keep(rows, self.model(X[rows]))


class LwF(Loop):
    """Labels among the classes met so far; the last task's net teaches those that it has met."""

    def step(self, new, old):
        x, y, outputs = X[new.row], labels(new), self.model(X[new.row])
        self.met |= set(y.tolist())
        met = sorted(self.met) if self.part.among == "met" else list(range(outputs.shape[1]))
        label_loss, past = (
            cross_entropy(outputs[:, met], torch.tensor([met.index(unit) for unit in y.tolist()])),
            0,
        )
        if self.teacher:
            known, t = sorted(self.old) if self.part.among == "met" else met, self.part.temperature
            target = (self.teacher(x)[:, known] / t).softmax(1).detach()
            past = self.part.alpha * cross_entropy(outputs[:, known] / t, target)
        decay = self.part.decay * sum((value**2).sum() for value in self.model.parameters())
        self.descend(self.weighed(label_loss, past, new) + decay)

    def end_task(self, task):
        self.teacher, self.old = copy.deepcopy(self.model), set(self.met)


CASES = [
    ("der", DER, {"alpha": 0.7, "memory": 9, "draw": 4}, {}),
    ("der", DER, {"alpha": 0.7, "memory": 9, "draw": 4, "policy": "ring"}, {"batch": 4}),
    ("derpp", DERpp, {"alpha": 0.3, "beta": 0.8, "memory": 9, "draw": 4}, {}),
    ("fdr", FDR, {"strength": 0.4, "memory": 9, "draw": 4}, {}),
    ("lwf", LwF, {"alpha": 0.6, "temperature": 1.7, "decay": 0.001}, {}),
    ("lwf", LwF, {"alpha": 0.6, "temperature": 2.0, "mean_pairwise_cosine": "all"}, {}),
    ("lwf", LwF, {"alpha": 0.6}, {"weighting": "tasks"}),
    ("der", DER, {"alpha": 0.7, "memory": 9, "draw": 4}, {"weighting": "tasks"}),
    ("derpp", DERpp, {"alpha": 0.3, "beta": 0.8, "memory": 9, "draw": 4}, {"weighting": "tasks"}),
    ("fdr", FDR, {"strength": 0.4, "memory": 9, "draw": 4}, {"weighting": "tasks"}),
]


@pytest.mark.parametrize(("name", "loop", "settings", "stream"), CASES)
def test_replicates_in_the_engine_follow_a_loop_written_from_the_paper(
    name, loop, settings, stream
):
    part, benchmark = (
        PARTS.find("strategies", name)(lr=0.05, **settings),
        Blobs(model="mlp-8", **stream),
    )
    streams = [benchmark.stream(DATA, seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, part, streams, [0, 1], CPU)
    for number in range(3):
        backend.learn(number, lambda _: None)
    for i in (0, 1):
        found = torch.cat([value[i].flatten() for value in backend.state.params.values()])
        assert_close(found, loop(part, benchmark, i).run(), rtol=1e-3, atol=1e-5)


def ended(name, **settings):
    leaves = trace(
        PARTS.find("strategies", name)(lr=0.05, **settings), Blobs(), DATA, [0, 1]
    ).leaves[-1]
    return torch.cat([leaf.flatten() for leaf in leaves[:4]])


@pytest.mark.parametrize(
    ("name", "nothing", "little"),
    [
        ("der", {"alpha": 0.0}, {"alpha": 0.1}),
        ("derpp", {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.0, "beta": 0.1}),
        ("fdr", {"strength": 0.0}, {"strength": 0.1}),
        (
            "lwf",
            {"alpha": 0.0, "mean_pairwise_cosine": "all"},
            {"alpha": 0.1, "mean_pairwise_cosine": "all"},
        ),
    ],
)
def test_without_strength_all_are_fine_tuning(name, nothing, little):
    assert_close(ended(name, **nothing), ended("finetune"), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ended(name, **little), ended("finetune"), atol=1e-3)


def ready(part, scenario, task):
    """One replicate before a task: its net, its state, and the first arrivals, alone."""
    benchmark = Blobs(scenario=scenario)
    backend = StreamReplicas(benchmark, part, [benchmark.stream(DATA, 0)], [0], CPU)
    for number in range(task):
        backend.learn(number, lambda _: None)
    net = backend._net(
        backend.net, {}, {name: value[0] for name, value in backend.per_replicate.items()}
    )
    rows = torch.from_numpy(backend.rows(task)[0, 0, :10].array)
    batch = backend._batch(Columns.of(rows), {}, backend.train_x)
    arrival = toy_step(batch)
    return net, tree_map(lambda leaf: leaf[0], backend.state), arrival


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_where_the_task_is_told_lwf_keeps_each_earlier_tasks_predictions_alone(scenario):
    """Raising both units of a task alike changes no prediction within it, but those among all old classes."""
    part = PARTS.find("strategies", "lwf")(lr=0.05, alpha=3.0)
    net, state, arrival = ready(part, scenario, 2)
    raised = state.params | {"head.bias": state.params["head.bias"] + 5 * (torch.arange(6) > 3)}
    gradients = [
        (p["head.bias"] - part.step(net, state.replace(params=p), arrival).params["head.bias"])
        / 0.05
        for p in (state.params, raised)
    ]
    alike = torch.allclose(*(gradient[2:] for gradient in gradients), atol=1e-4)
    assert alike == (scenario == "task")


def test_fdr_in_one_step_adds_the_distance_to_the_loss():
    part, random = (
        PARTS.find("strategies", "fdr")(lr=0.05, strength=0.7, memory=6, apart=False),
        torch.Generator().manual_seed(0),
    )
    net, state, arrival = ready(part, "class", 1)
    kept = torch.randn(6, 6, generator=random)
    old, drawn = (
        arrival.incoming.at(slice(3, 7))._replace(weight=torch.tensor([1.0, 1, 1, 0])),
        torch.tensor([4, 0, 2, 1]),
    )
    now, past = torch.tensor(0.25), torch.tensor(0.75)
    state, arrival = (
        state.replace(extra={"logits": kept}),
        arrival._replace(old=old, drawn=drawn, now=now, past=past),
    )
    weights = {name: value.clone().requires_grad_() for name, value in state.params.items()}
    gap = net.logits(weights, old.x[:3]).softmax(1) - kept[drawn[:3]].softmax(1)
    of_new = cross_entropy(net.logits(weights, arrival.incoming.x), arrival.incoming.y)
    loss = 0.25 * of_new + 0.75 * 0.7 * gap.norm(dim=1).mean()
    expected = torch.autograd.grad(loss, list(weights.values()))
    after = part.step(net, state, arrival).params
    for gradient, (name, value) in zip(expected, state.params.items(), strict=True):
        assert_close(after[name], value - 0.05 * gradient)
