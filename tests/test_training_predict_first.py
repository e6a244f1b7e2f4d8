"""Online accuracy: every mini-batch is predicted before the step that trains on it."""

import numpy as np
import pytest
import torch

from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.streams.schedule import Schedule, train_rows
from retrograde.training.cell_check import check
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
DATA = blobs()
CPU = torch.device("cpu")


def outcomes(benchmark, strategy, seeds):
    streams = [benchmark.stream(DATA, seed) for seed in seeds]
    return train(benchmark, strategy, streams, seeds, CPU, "off")


def by_hand(benchmark, strategy, seed):
    """Right predictions, and all, of each experience, by a step at a time and a NumPy argmax."""
    stream = benchmark.stream(DATA, seed)
    backend = StreamReplicas(benchmark, strategy, [stream], [seed], CPU)
    counts = []
    for number in range(len(stream)):
        rows, _ = train_rows(stream, number, benchmark, Schedule(), None, None, seed)
        right = []
        backend.begin(number)
        steps = backend._steps(backend.memories.rows(number), number)
        for step, of_step in zip(steps, rows, strict=True):
            real = of_step[of_step.real]
            params = {name: value[0] for name, value in backend.parameters().items()}
            x = torch.from_numpy(DATA.x_train[real.row])
            logits = torch.func.functional_call(backend.net.module, params, (x,))
            if benchmark.scenario == "task":
                own = torch.from_numpy(stream.units[real.task])
                logits = logits.masked_fill(~own, -torch.inf)
            right.append(int((logits.argmax(1).numpy() == real.y).sum()))
            backend.carried = step(backend.carried)
        counts.append((sum(right), int(rows.real.sum())))
    return counts


@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_predictions_are_those_of_the_parameters_before_each_step(scenario):
    strategy = PARTS.get("strategies", "finetune")
    benchmark = Blobs(scenario=scenario, uneven=True, predict_first=True, batch_size=7)
    # Replicates of different lengths wait for each other in steps of padding.
    for seed, outcome in zip((0, 1), outcomes(benchmark, strategy, [0, 1]), strict=True):
        found = outcome.prequential
        expected = by_hand(benchmark, strategy, seed)
        assert list(zip(found.correct, found.examples, strict=True)) == expected
    assert len({sum(right for right, _ in by_hand(benchmark, strategy, s)) for s in (0, 1)}) == 2


def test_predicting_first_changes_nothing_that_is_learned():
    strategy = PARTS.get("strategies", "er")
    plain, first = (
        outcomes(Blobs(predict_first=first), strategy, [0])[0] for first in (False, True)
    )
    assert plain.correct == first.correct
    assert plain.prequential is None
    assert plain.counts == first.counts


def test_windows_of_statistics_leave_the_counts_whole():
    strategy = PARTS.get("strategies", "finetune")
    whole, cut = (
        outcomes(Blobs(predict_first=True, log_every=every), strategy, [0])[0] for every in (0, 2)
    )
    assert whole.prequential == cut.prequential
    assert cut.statistics is None


@pytest.mark.parametrize(
    ("name", "changes", "error"),
    [
        ("finetune", {"epochs": 2}, "epochs=2"),
        ("finetune", {"steps": 1000}, "epochs="),
        ("er", {"updates_per_batch": 2}, "updates_per_batch=2"),
        ("joint", {}, "trains on all so far"),
        ("gdumb", {}, "trains on memory"),
        ("scr", {"augment": "crop"}, "at each"),
    ],
)
def test_what_is_not_trained_on_once_is_not_predicted_first(name, changes, error):
    benchmark = Blobs(predict_first=True, **changes)
    data = blobs(shape=(1, 8, 8)) if "augment" in changes else DATA
    with pytest.raises(UserError, match=error):
        check(benchmark, PARTS.get("strategies", name), benchmark.stream(data, 0), CPU)


def test_the_record_has_the_share_of_right_predictions():
    import retrograde as rg

    (record,) = rg.run(
        "permuted:tasks=2,train_examples=200,predict_first=true", ["finetune"], seeds=1
    )
    scores = rg.scores([record]).set_index("metric").value
    right = np.sum(record.prequential.correct) / np.sum(record.prequential.examples)
    assert scores["online_ACC"] == pytest.approx(right)
    assert record.prequential.examples == [200, 200]
