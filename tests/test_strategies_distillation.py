"""DER, DER++, FDR and LwF against loops written from the papers, and the limits in which they are fine-tuning or replay."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss
from torch.testing import assert_close
from torch.utils._pytree import tree_map

from retrograde.contract.strategies import trace
from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.net import Notes
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
    """A plain PyTorch loop along a stream; stored outputs are looked up by the example, not by a slot."""

    def __init__(self, part, benchmark, seed):
        self.part, self.benchmark, self.seed = part, benchmark, seed
        self.stream = benchmark.stream(DATA, seed)
        self.model = build(
            benchmark.model, DATA.shape, self.stream.units.shape[1], torch_seed(seed, "weights")
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), part.lr)
        self.stored = {}
        self.teacher, self.earlier, self.seen = None, set(), set()

    def run(self):
        memory = self.part.memory()
        stored = memory.empty() if memory else None
        for number, experience in enumerate(self.stream.experiences):
            rows, stored = train_rows(
                self.stream, number, self.benchmark, self.part.schedule(), memory, stored, self.seed
            )
            for step in rows:
                incoming, replayed = (
                    step[: self.benchmark.batch_size],
                    step[self.benchmark.batch_size :],
                )
                self.step(incoming[incoming.real], replayed)
            self.end_experience(experience)
        return torch.cat([value.detach().flatten() for value in self.model.parameters()])

    def descend(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def weighted(self, loss, past, incoming):
        """The sum of both losses, with weights 1 and t - 1 at task t if the benchmark has weighting=tasks."""
        incoming_weight, replay_weight = self.weights(incoming)
        return incoming_weight * loss + replay_weight * past

    def weights(self, incoming):
        if self.benchmark.weighting == "examples":
            return 1, 1
        share = 1 / (1 + int(incoming.task[0]))
        return share, 1 - share

    def store(self, rows, outputs):
        self.stored |= dict(zip(rows.tolist(), outputs.detach(), strict=True))

    def target(self, replayed):
        return torch.stack([self.stored[row] for row in replayed.row.tolist()])

    def end_experience(self, experience):
        pass


def labels(rows):
    return torch.from_numpy(rows.y.copy())


class DER(Loop):
    """Algorithm 1."""

    def step(self, incoming, replayed):
        outputs, replayed = self.model(X[incoming.row]), replayed[replayed.real]
        past = (
            self.part.alpha * mse_loss(self.model(X[replayed.row]), self.target(replayed))
            if len(replayed)
            else 0
        )
        self.descend(self.weighted(cross_entropy(outputs, labels(incoming)), past, incoming))
        self.store(incoming.row, outputs)


class DERpp(Loop):
    """Algorithm 2."""

    def step(self, incoming, replayed):
        outputs = self.model(X[incoming.row])
        halves = replayed[: self.part.replay_batch], replayed[self.part.replay_batch :]
        dark, labelled = (half[half.real] for half in halves)
        past = 0
        if len(dark):
            past = self.part.alpha * mse_loss(self.model(X[dark.row]), self.target(dark))
            past = past + self.part.beta * cross_entropy(
                self.model(X[labelled.row]), labels(labelled)
            )
        self.descend(self.weighted(cross_entropy(outputs, labels(incoming)), past, incoming))
        self.store(incoming.row, outputs)


class FDR(Loop):
    """Steps on incoming examples, and on the distance of the predictions from those at the end of their task."""

    def step(self, incoming, replayed):
        replayed = replayed[replayed.real]
        incoming_weight, replay_weight = self.weights(incoming)
        self.descend(incoming_weight * cross_entropy(self.model(X[incoming.row]), labels(incoming)))
        if len(replayed):
            gap = self.model(X[replayed.row]).softmax(1) - self.target(replayed).softmax(1)
            self.descend(replay_weight * self.part.strength * gap.norm(dim=1).mean())

    def end_experience(self, experience):
        rows = torch.from_numpy(experience.row)
        self.store(rows, self.model(X[rows]))


class LwF(Loop):
    """Labels among the seen classes; the last task's net teaches those that it has seen."""

    def step(self, incoming, replayed):
        x, y, outputs = X[incoming.row], labels(incoming), self.model(X[incoming.row])
        self.seen |= set(y.tolist())
        seen = sorted(self.seen) if self.part.among == "seen" else list(range(outputs.shape[1]))
        label_loss, past = (
            cross_entropy(
                outputs[:, seen], torch.tensor([seen.index(unit) for unit in y.tolist()])
            ),
            0,
        )
        if self.teacher:
            known, t = (
                sorted(self.earlier) if self.part.among == "seen" else seen,
                self.part.temperature,
            )
            target = (self.teacher(x)[:, known] / t).softmax(1).detach()
            past = self.part.alpha * cross_entropy(outputs[:, known] / t, target)
        decay = self.part.decay * sum((value**2).sum() for value in self.model.parameters())
        self.descend(self.weighted(label_loss, past, incoming) + decay)

    def end_experience(self, experience):
        self.teacher, self.earlier = copy.deepcopy(self.model), set(self.seen)


CASES = [
    ("der", DER, {"alpha": 0.7, "buffer_size": 9, "replay_batch": 4}, {}),
    (
        "der",
        DER,
        {"alpha": 0.7, "buffer_size": 9, "replay_batch": 4, "policy": "ring"},
        {"batch_size": 4},
    ),
    ("derpp", DERpp, {"alpha": 0.3, "beta": 0.8, "buffer_size": 9, "replay_batch": 4}, {}),
    ("fdr", FDR, {"strength": 0.4, "buffer_size": 9, "replay_batch": 4}, {}),
    ("lwf", LwF, {"alpha": 0.6, "temperature": 1.7, "decay": 0.001}, {}),
    ("lwf", LwF, {"alpha": 0.6, "temperature": 2.0, "among": "all"}, {}),
    ("lwf", LwF, {"alpha": 0.6}, {"weighting": "tasks"}),
    ("der", DER, {"alpha": 0.7, "buffer_size": 9, "replay_batch": 4}, {"weighting": "tasks"}),
    (
        "derpp",
        DERpp,
        {"alpha": 0.3, "beta": 0.8, "buffer_size": 9, "replay_batch": 4},
        {"weighting": "tasks"},
    ),
    ("fdr", FDR, {"strength": 0.4, "buffer_size": 9, "replay_batch": 4}, {"weighting": "tasks"}),
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
            {"alpha": 0.0, "among": "all"},
            {"alpha": 0.1, "among": "all"},
        ),
    ],
)
def test_without_strength_all_are_fine_tuning(name, nothing, little):
    assert_close(ended(name, **nothing), ended("finetune"), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ended(name, **little), ended("finetune"), atol=1e-3)


def ready(part, scenario, task):
    """One replicate before a task: its net, its state, and the first incoming batch, alone."""
    benchmark = Blobs(scenario=scenario)
    backend = StreamReplicas(benchmark, part, [benchmark.stream(DATA, 0)], [0], CPU)
    for number in range(task):
        backend.learn(number, lambda _: None)
    backend.begin(task)
    state, own = tree_map(lambda leaf: leaf[0], (backend.state, backend.own))
    net = replace(backend.net_of(state, own, backend.shared), notes=Notes())
    rows = backend.memories.rows(task)[0, 0, :10]
    examples = backend.examples_of
    batch = examples.batch(Columns.of(torch.from_numpy(rows.array)), {}, examples.train)
    return net, state, toy_step(batch)


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_if_the_task_is_given_lwf_keeps_each_earlier_tasks_predictions_alone(scenario):
    """Raising both units of a task alike changes no prediction within it, but those among all earlier classes."""
    part = PARTS.find("strategies", "lwf")(lr=0.05, alpha=3.0)
    net, state, data = ready(part, scenario, 2)
    raised = state.params | {"head.bias": state.params["head.bias"] + 5 * (torch.arange(6) > 3)}
    gradients = [
        (p["head.bias"] - part.step(net, state.replace(params=p), data).params["head.bias"]) / 0.05
        for p in (state.params, raised)
    ]
    alike = torch.allclose(*(gradient[2:] for gradient in gradients), atol=1e-4)
    assert alike == (scenario == "task")


def test_fdr_in_one_step_adds_the_distance_to_the_loss():
    part, random = (
        PARTS.find("strategies", "fdr")(lr=0.05, strength=0.7, buffer_size=6, separate_step=False),
        torch.Generator().manual_seed(0),
    )
    net, state, data = ready(part, "class", 1)
    logits = torch.randn(4, 6, generator=random)
    replayed = data.incoming.at(slice(3, 7))
    replayed = replayed._replace(weight=torch.tensor([1.0, 1, 1, 0]), kept={"logits": logits})
    data = toy_step(data.incoming, replayed, share=0.25)
    weights = {name: value.clone().requires_grad_() for name, value in state.params.items()}
    gap = net.logits(weights, replayed.x[:3]).softmax(1) - logits[:3].softmax(1)
    incoming_loss = cross_entropy(net.logits(weights, data.incoming.x), data.incoming.y)
    loss = 0.25 * incoming_loss + 0.75 * 0.7 * gap.norm(dim=1).mean()
    expected = torch.autograd.grad(loss, list(weights.values()))
    after = part.step(net, state, data).params
    for gradient, (name, value) in zip(expected, state.params.items(), strict=True):
        assert_close(after[name], value - 0.05 * gradient)
