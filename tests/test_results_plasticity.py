"""The table `plasticity`: its numbers are those of the records."""

import numpy as np
import pytest

import retrograde as rg


@pytest.fixture(scope="module")
def records():
    return rg.run(
        "split:tasks=2,steps=5,model=mlp-6,probe_examples=0,plasticity_examples=40,"
        "predict_first=true",
        ["finetune", "l2_init"],
        seeds=2,
        compile="off",
        progress=False,
    )


def test_it_has_the_means_after_the_first_and_the_last_experience(records):
    table = rg.report(records).tables["plasticity"]
    (section,) = table.sections
    assert [row[0].text for row in section.rows] == ["Fine-tuning", "L2 init"]
    finetune = table.tidy.query("strategy == 'Fine-tuning'").set_index("measure")["mean"]
    own = [record for record in records if record.cell.strategy.name == "finetune"]
    for when, place in (("first", 0), ("last", -1)):
        ranks = [record.plasticity.effective_rank[place] for record in own]
        dead = [record.plasticity.dead_units[place] for record in own]
        assert finetune[f"effective rank, {when}"] == pytest.approx(np.mean(ranks))
        assert finetune[f"dead units, {when}"] == pytest.approx(100 * np.mean(dead))


def test_without_measures_there_is_no_table(records):
    (record,) = rg.run(
        "split:tasks=2,steps=2,model=mlp-6", "finetune", seeds=1, compile="off", progress=False
    )
    assert "plasticity" not in rg.report([record]).tables
