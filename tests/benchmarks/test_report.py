"""What a report costs: seconds and memory of the command, start-up included, for stores of simulated records.

Run with `tox run -e bench`. Records are of ten tasks; every strategy is on every benchmark.
"""

import random
import resource
import subprocess
import sys
import time

import pytest

from retrograde.store import Store

STORES = {
    "1 000 records, with figures and the page": (10, 10, 10, "md,csv,tex,svg,html"),
    "20 000 records": (20, 20, 50, "md,csv,tex"),
}
"""How many benchmarks, strategies and seeds, and the formats asked for."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", STORES)
def test_a_report(name, make_record, tmp_path):
    benchmarks, strategies, seeds, formats = STORES[name]
    draw, store = random.Random(0), Store(tmp_path / "store")
    for benchmark in range(benchmarks):
        for strategy in range(strategies):
            for seed in range(seeds):
                rows = [[draw.randint(0, 50 + 2 * strategy) for _ in range(10)] for _ in range(11)]
                store.write(make_record(f"s{strategy}", seed, rows, benchmark=f"b{benchmark}"))
    command = [sys.executable, "-m", "retrograde", "report", store.folder, "--format", formats]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"\n{name}: {seconds:.1f} s, at most {peak:.2f} GiB")
    assert (tmp_path / "store" / "tables" / "scores.csv").read_text(encoding="utf-8").count("\n") > strategies
