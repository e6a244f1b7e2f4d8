"""The benchmark of incremental sine waves: its functions, its inputs and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retrograde.contract.benchmarks import checks_of
from retrograde.contract.claims import verdict
from retrograde.contract.strategies import train_briefly
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy
from retrograde.parts.registry import Registry

PARTS = Registry()


def waves(**settings):
    return PARTS.get("benchmarks", "waves", settings)


def functions(stream):
    """The amplitude and phase of each function, by least squares on sin z and cos z."""
    found = []
    for task, experience in enumerate(stream):
        z = experience.x_train[:, -1].astype(float)
        basis = np.column_stack([np.sin(z), np.cos(z)])
        y = experience.y_train[:, 0]
        (along, across), *_ = np.linalg.lstsq(basis, y, rcond=None)
        assert np.abs(basis @ [along, across] - y).max() < 1e-5
        x_test, y_test = stream.test(task)
        amplitude, phase = np.hypot(along, across), np.arctan2(across, along)
        assert np.allclose(amplitude * np.sin(x_test[:, -1] + phase), y_test[:, 0], atol=1e-5)
        found.append((amplitude, phase))
    return np.array(found)


def test_functions_are_sines_of_amplitude_and_phase_in_the_ranges_of_the_paper():
    amplitude, phase = np.concatenate([functions(waves().stream(seed=s)) for s in range(20)]).T
    assert amplitude.min() >= 0.1 - 1e-4
    assert amplitude.max() <= 5 + 1e-4
    assert phase.min() >= -1e-4
    assert phase.max() <= np.pi + 1e-4
    # Of 200 draws, some are near each end.
    assert amplitude.min() < 0.5
    assert amplitude.max() > 4.5
    assert phase.min() < 0.3
    assert phase.max() > np.pi - 0.3


def test_an_input_is_the_number_of_its_function_and_then_a_point():
    stream = waves(tasks=4, batches=3).stream(seed=2)
    assert [len(experience.row) for experience in stream.experiences] == [24] * 4
    for experience in stream:
        number, z = np.split(experience.x_train, [4], axis=1)
        assert number.tolist() == [np.eye(4)[experience.number].tolist()] * 24
        assert np.abs(z).max() <= 5
        assert experience.outputs.tolist() == [0]


def test_another_seed_has_other_functions_of_the_same_points():
    one, other = (waves().stream(seed=seed) for seed in (0, 1))
    assert np.array_equal(one.data.x_train, other.data.x_train)
    assert np.abs(functions(one) - functions(other)).min() > 1e-3


@pytest.mark.parametrize("check", [check for _, check in checks_of(waves(batches=3), "nowhere")])
def test_waves_keep_the_contract_of_benchmarks(check):
    outcome = verdict(waves(batches=3), check)
    assert outcome.outcome == "passed", outcome.why


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"dataset": "digits"}, "take no dataset; dataset=digits"),
        ({"scenario": "class"}, "share their outputs, as in scenario=domain"),
        ({"label_noise": 0.1, "validation": 0.1}, "label_noise, validation of a stream are about"),
        ({"eval_every": 5}, "eval_every of a stream are about classes"),
        ({"predict_first": True}, "predict_first of a stream are about classes"),
        ({"augment": "flip"}, "Images alone can be augmented"),
        ({"normalise": "channels"}, "Images alone have channels"),
    ],
)
def test_settings_that_need_classes_images_or_a_dataset_are_refused(settings, rule):
    with pytest.raises(UserError, match=rule):
        waves(**settings).stream(seed=0)


def test_another_dataset_is_not_cut():
    with pytest.raises(UserError, match="cut no other dataset; data was digits"):
        waves().stream(load("digits", Path("nowhere")))


SMALL = {"model": "mlp-8", "tasks": 3, "batches": 2, "batch_size": 4, "tests": 4}
BRIEF = {"mer": {"batches": 2, "replay_batch": 2}, "agem": {"policy": "reservoir"}}
OF_STREAMS = [
    name
    for name in PARTS.names("strategies")
    if name != "avalanche" and not issubclass(PARTS.find("strategies", name), MetaStrategy)
]


@pytest.mark.parametrize("name", OF_STREAMS)
def test_every_strategy_trains_on_waves_or_is_refused_for_what_it_declares(name):
    given = BRIEF.get(name, {})
    if "lr" in PARTS.get("strategies", name).settings():
        given = given | {"lr": 0.001}
    part = PARTS.get("strategies", name, given)
    stream = waves(**SMALL).stream(seed=0)
    # First, since another scenario would not mend it.
    if part.needs_classes():
        rule = "Waves has values to predict, and .* needs classes"
    elif "domain" not in part.scenarios:
        rule = "the benchmark has scenario=domain"
    else:
        train_briefly(part, waves(**SMALL), stream)
        return
    with pytest.raises(UserError, match=rule):
        train_briefly(part, waves(**SMALL), stream)


def test_the_strategies_that_only_use_the_loss_are_not_refused():
    able = {name for name in OF_STREAMS if not PARTS.get("strategies", name).needs_classes()}
    by_loss = {"finetune", "joint", "er", "ewc", "online_ewc", "si", "mas", "l2", "l2_init"}
    by_loss |= {"shrink_perturb", "gem", "lamaml", "cmaml", "mer", "der", "derpp"}
    assert by_loss <= able
    assert able.isdisjoint({"icarl", "lwf", "gdumb", "er_ace", "scr", "slda", "oml", "anml"})


def test_settings_decide_whether_classes_are_needed():
    needs = {
        text: PARTS.get("strategies", text, settings).needs_classes()
        for text, settings in (("er", {"policy": "ring"}), ("agem", {"policy": "reservoir"}))
    }
    assert needs == {"er": True, "agem": False}
    assert PARTS.get("strategies", "ewc", {"fisher": "sampled"}).needs_classes()


def test_the_refusal_names_the_memory_that_keeps_classes_apart():
    part = PARTS.get("strategies", "er", {"policy": "balanced"})
    assert isinstance(part, Strategy)
    with pytest.raises(UserError, match="ER needs classes, which its ClassBalanced keeps apart"):
        train_briefly(part, waves(**SMALL), waves(**SMALL).stream(seed=0))


def test_examples_are_tensors_for_a_loop_of_ones_own():
    train, test = next(iter(waves(batches=2).stream(seed=0))).datasets()
    x, y = train[:3]
    assert (x.shape, y.shape, y.dtype, len(test)) == ((3, 11), (3, 1), torch.float32, 100)
