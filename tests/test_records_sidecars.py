"""The model and the predictions that a run keeps: what they hold, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from retrograde import UserError, load, run
from retrograde.networks.build import forget_files
from retrograde.records.sidecars import Predictions

STREAM = "split:tasks=2,train_examples=80"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with two replicates, their models and predictions."""
    folder = tmp_path_factory.mktemp("store")
    run(STREAM, "er", 2, store=folder, keep="model,predictions", progress=False)
    return folder


@pytest.fixture
def copy(store, tmp_path):
    """A store of its own, which a test may damage."""
    for path in store.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(store)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


def beside(folder, end):
    (path,) = folder.rglob(f"seed-0{end}")
    return path


def test_the_kept_model_gives_the_kept_predictions(store):
    from retrograde.data.sources import data_folder, load as dataset

    for record in load(store):
        kept = record.predictions
        x = dataset("digits", data_folder()).x_test[kept.example]
        # Bytes count in 255ths.
        scores = record.model()(
            torch.from_numpy(x).float() * (1 / 16 if x.max() <= 16 else 1 / 255)
        )
        assert scores.argmax(-1).tolist() == kept.predicted[-1].tolist()


def test_kept_predictions_are_those_that_the_record_counts(store):
    for record in load(store):
        kept = record.predictions
        right = (kept.predicted == kept.y).astype(int)
        for task in range(2):
            counts = right[:, kept.task == task].sum(1)
            assert counts.tolist() == [row[task] for row in record.correct]


def test_replicates_keep_models_of_their_own(store):
    first, second = (record.model().head.weight for record in load(store))
    assert not torch.equal(first, second)


def test_without_a_store_the_files_stay_with_the_records():
    (record,) = run(STREAM, "er", 1, keep=["model"], progress=False)
    assert record.model().head.weight.shape == (10, 100)
    with pytest.raises(UserError, match="keep=predictions"):
        _ = record.predictions


def test_the_optimisers_state_is_kept_beside_the_model(tmp_path):
    run(f"{STREAM},optimizer=adam", "er:lr=0.001", 1, store=tmp_path, keep="model", progress=False)
    tensors = load_file(beside(tmp_path, ".safetensors"))
    slots = {name.split("/")[1] for name in tensors if name.startswith("optimizer/")}
    assert slots == {"first", "second", "step"}


def test_a_kept_model_is_where_another_run_begins(store):
    path = beside(store, ".safetensors")
    (later,) = run(f"{STREAM},weights={path}", "er", 1, progress=False)
    (kept, _) = load(store)
    assert later.R[0].tolist() == kept.R[-1].tolist()


def test_a_strategys_own_modules_are_not_the_models(tmp_path):
    run(
        "split:tasks=2,train_examples=80,model=mlp-20",
        "scr",
        1,
        store=tmp_path,
        keep="model",
        progress=False,
    )
    tensors = load_file(beside(tmp_path, ".safetensors"))
    assert any(name.startswith("strategy/") for name in tensors)
    (record,) = load(tmp_path)
    assert record.model()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_few_shot_tasks_keep_the_model_that_adaptation_starts_from():
    text = "sinusoid:iterations=5,meta_batch_size=2,test_tasks=2,model=mlp-8"
    (record,) = run(text, "maml", 1, keep="model,predictions", progress=False)
    assert record.model()(torch.zeros(3, 1)).shape == (3, 1)
    assert set(record.kept.digests) == {"model"}


def test_a_kept_model_of_few_shot_tasks_takes_their_parameters_if_it_sees_them():
    text = "sinusoid:iterations=5,meta_batch_size=2,test_tasks=2,model=mlp-8"
    (record,) = run(text, "oracle", 1, keep="model", progress=False)
    assert record.model()(torch.zeros(4, 3)).shape == (4, 1)


def test_a_learner_keeps_its_model(tmp_path):
    (record,) = run(STREAM, "avalanche", 1, keep="model", progress=False)
    assert record.model().head.weight.shape == (10, 100)


def test_a_finished_record_without_its_model_is_made_again(tmp_path):
    (before,) = run(STREAM, "er", 1, store=tmp_path, progress=False)
    run(STREAM, "er", 1, store=tmp_path, keep="model", progress=False)
    (after,) = load(tmp_path)
    assert after.correct == before.correct
    assert after.keeps(["model"])
    assert not [*tmp_path.rglob("*superseded*")]


def test_a_kept_model_stays_where_a_later_run_keeps_predictions(tmp_path):
    run(STREAM, "er", 1, store=tmp_path, keep="model", progress=False)
    run(STREAM, "er", 1, store=tmp_path, keep="predictions", progress=False)
    (record,) = load(tmp_path)
    assert record.model().head.weight.shape == (10, 100)
    assert len(record.predictions.predicted) == 3


@pytest.mark.parametrize("damage", [b"", None])
def test_a_kept_file_that_is_gone_or_damaged_is_made_again(copy, damage):
    path = beside(copy, ".safetensors")
    path.unlink() if damage is None else path.write_bytes(damage)
    run(STREAM, "er", 2, store=copy, keep="model", progress=False)
    assert all(record.keeps(["model", "predictions"]) for record in load(copy))


def test_regression_has_records_and_no_predictions():
    (record,) = run("waves:tasks=2", "joint", 1, keep="predictions", progress=False)
    assert record.squared_errors
    assert record.kept is None
    with pytest.raises(UserError, match="those of a stream of classes"):
        _ = record.predictions


def test_a_kept_model_stays_where_a_later_run_keeps_nothing(copy):
    run(STREAM, "er", 2, store=copy, progress=False)
    assert all(record.keeps(["model"]) for record in load(copy))


@pytest.mark.parametrize("end", [".safetensors", ".predictions.npz"])
def test_another_file_is_refused(copy, end):
    path = beside(copy, end)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (record, _) = load(copy)
    with pytest.raises(UserError, match="has changed since. Run the cell again"):
        record.model() if end == ".safetensors" else record.predictions


def test_a_missing_file_is_named(copy):
    beside(copy, ".safetensors").unlink()
    (record, _) = load(copy)
    with pytest.raises(UserError, match=r"seed-0\.safetensors cannot be read"):
        record.model()


def test_a_model_that_is_another_one_now_is_refused(tmp_path):
    file = tmp_path / "net.py"
    text = "from torch import nn\ndef net(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, {0}), nn.ReLU(), nn.Linear({0}, outputs))\n"
    file.write_text(text.format(8))
    stream = f"{STREAM},model={file}:net"
    (record,) = run(stream, "er", 1, keep="model", progress=False)
    assert record.model(f"{file}:net")(torch.zeros(1, 64)).shape == (1, 10)
    file.write_text(text.format(9))
    forget_files()
    with pytest.raises(UserError, match="has other tensors"):
        record.model(f"{file}:net")


def test_a_record_chooses_no_code_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "from torch import nn\ndef net(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))\n"
    (tmp_path / "net.py").write_text(text)
    (record,) = run(f"{STREAM},model=net.py:net", "er", 1, keep="model", progress=False)
    with pytest.raises(UserError, match="does not choose code to run; its model is net.py:net"):
        record.model()
    assert record.model("net.py:net")(torch.zeros(1, 64)).shape == (1, 10)


@pytest.mark.parametrize("keep", ["modell", ["model", 3], 3])
def test_an_unknown_thing_to_keep_is_refused(keep):
    with pytest.raises(UserError, match="keep"):
        run(STREAM, "er", 1, keep=keep, progress=False)


def made(predicted, confidence, y):
    size = len(y)
    return Predictions(
        np.array([predicted]),
        np.array([confidence], np.float32),
        np.array(y),
        np.zeros(size, np.int64),
        np.arange(size),
    )


def test_confusion_counts_right_units_by_predicted_ones():
    kept = made([0, 1, 1, 2], [1, 1, 1, 1], [0, 0, 1, 2])
    assert kept.confusion().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_the_calibration_error_is_the_mean_gap_of_confidence_and_accuracy():
    # Bin (0.9, 1]: two examples, one right, mean confidence 0.95; bin (0.4, 0.5]: one, right.
    kept = made([0, 1, 1], [0.95, 0.95, 0.5], [0, 0, 1])
    expected = 2 / 3 * abs(0.5 - 0.95) + 1 / 3 * abs(1 - 0.5)
    assert kept.calibration_error(bins=10) == pytest.approx(expected, abs=1e-6)


def test_predictions_print_on_one_line():
    kept = made([0, 1, 1], [1, 1, 1], [0, 0, 1])
    assert repr(kept) == "<predictions for 3 test examples, 1 evaluations>"


def test_predictions_survive_their_file():
    kept = made([0, 300, 1], [0.5, 0.25, 1], [0, 300, 2])
    again = Predictions.from_bytes(kept.to_bytes())
    assert all(np.array_equal(*pair) for pair in zip(kept, again, strict=True))
    assert again.y.dtype == np.int64
