"""Trackers get the numbers of the records, and nothing else."""

import importlib.util

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retrograde import UserError, run


def read(folder):
    """The curves of the only run below a folder: points of step and value."""
    (events,) = folder.rglob("events.*")
    found = EventAccumulator(str(events.parent)).Reload()
    return {
        name: [(point.step, point.value) for point in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def test_the_curves_are_those_of_the_record(tmp_path):
    stream = "split:tasks=2,train_examples=80,log_every=4,eval_every=5,predict_first=true"
    (record,) = run(stream, "redo", 1, store=tmp_path, log="tensorboard", progress=False)
    curves = read(tmp_path)
    assert [value for _, value in curves["accuracy/mean of all tasks"]] == pytest.approx(
        record.R.mean(1).tolist()
    )
    assert [value for _, value in curves["accuracy by task/task 2"]] == pytest.approx(
        record.R[:, 1].tolist()
    )
    right, examples = record.prequential.correct, record.prequential.examples
    online = [value for _, value in curves["online accuracy"]]
    assert online == pytest.approx([right[0] / examples[0], right[1] / examples[1]])
    steps = [step for step, _ in curves["accuracy during experiences"]]
    assert steps == record.online_accuracy.step
    for name, means in record.statistics.means.items():
        assert [value for _, value in curves[f"statistics/{name}"]] == pytest.approx(means)


def test_a_replicate_that_is_run_again_has_the_new_curves_alone(tmp_path):
    for keep in ("", "predictions"):
        stream = "split:tasks=2,train_examples=80"
        run(stream, "er", 1, store=tmp_path, log="tensorboard", keep=keep, progress=False)
    assert len(read(tmp_path)["accuracy/mean of all tasks"]) == 3


def test_regression_and_few_shot_tasks_have_curves(tmp_path):
    run("waves:tasks=2", "finetune", 1, store=tmp_path / "a", log="tensorboard", progress=False)
    assert len(read(tmp_path / "a")["MSE/mean of all tasks"]) == 3
    text = "sinusoid:iterations=4,meta_batch_size=2,test_tasks=2,evaluations=2,model=mlp-8"
    run(text, "maml", 1, store=tmp_path / "b", log="tensorboard", progress=False)
    assert [step for step, _ in read(tmp_path / "b")["validation loss after adaptation"]] == [
        0,
        2,
        4,
    ]


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UserError, match="log was 'tensorbord'. Did you mean tensorboard"):
        run("split", "er", 1, log="tensorbord", progress=False)


def test_a_missing_package_is_named_before_anything_trains(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"\.\[tensorboard\]"):
        run("split", "er", 1, log="tensorboard", progress=False)


def test_records_that_were_made_before_get_their_curves(tmp_path):
    text = "split:tasks=2,train_examples=80"
    run(text, "er", 1, store=tmp_path, progress=False)
    run(text, "er", 1, store=tmp_path, log="tensorboard", progress=False)
    assert "accuracy/mean of all tasks" in read(tmp_path)
