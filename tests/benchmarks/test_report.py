"""Reports.

The whole command, with the most memory that it had, for stores of simulated records of ten tasks; every strategy is on every
benchmark.
"""

import random

import pytest

from retrograde.records.store import Store

STORES = {
    "1 000 records, with figures and the page": (10, 10, 10, "md,csv,tex,svg,html"),
    "20 000 records": (20, 20, 50, "md,csv,tex"),
}
"""How many benchmarks, strategies and seeds, and the formats asked for."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", STORES)
def test_a_report(measure_command, name, make_record, tmp_path):
    benchmarks, strategies, seeds, formats = STORES[name]
    draw, store = random.Random(0), Store(tmp_path / "store")
    for benchmark in range(benchmarks):
        for strategy in range(strategies):
            for seed in range(seeds):
                rows = [[draw.randint(0, 50 + 2 * strategy) for _ in range(10)] for _ in range(11)]
                store.write(make_record(f"s{strategy}", seed, rows, benchmark=f"b{benchmark}"))
    measure_command(f"report of {name}", "report", store.folder, "--format", formats)
    assert (tmp_path / "store" / "tables" / "scores.csv").read_text(encoding="utf-8").count(
        "\n"
    ) > strategies
