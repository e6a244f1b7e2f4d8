"""Tests live in a stricter world: shapes and types in annotations are checked at every call."""

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

CHECKED = (
    "adapting", "align", "data", "episodes", "evaluation", "learner", "memory", "metastrategy", "models", "net", "omniglot",
    "opaque", "optim", "schedule", "score", "seeds", "stats", "stream", "vectorise", "benchmarks", "strategies",
)  # fmt: skip


def pytest_configure(config):
    """Benchmarks go unchecked: the checks take time, and a checked step cannot be compiled."""
    if not any("benchmarks" in word for word in config.args):
        install_import_hook([f"retrograde.{name}" for name in CHECKED], "beartype.beartype")


settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def make_record():
    """Build a record from its counts of right answers, out of 100 per task unless told."""
    from retrograde.record import Cell, Named, Record

    def make(
        strategy="er", seed=0, correct=((10, 10), (90, 20), (80, 90)), *, benchmark="split", of=100, data="digest",
        task_size=2, memory=200, changed="", machine=None, replicates=5, status="done", upper_bound=False, **fields,
    ):  # fmt: skip
        named = Named(benchmark, {"task_size": task_size}), Named(strategy, {"memory": memory, "lr": 0.1}, changed)
        measured = {
            "clocks": {"train": 2.0, "evaluate": 0.5, "compile": 3.0},
            "counts": {"steps": 1000, "new": 10_000, "replayed": 6_000},
            "memory": {"examples": 200, "bytes": 51_200, "state_bytes": 800, "peak_bytes": 500_000_000},
            "how": {"backend": "pure", "compiled": True, "note": None, "replicates": replicates, "steps": 1000},
            "environment": {
                "cpu": "Test CPU",
                "cores": 2,
                "device": "cpu",
                "threads": 2,
                "jobs": 1,
                "torch": "2",
                **(machine or {}),
            },
        }
        rows, reason = [list(row) for row in correct], "" if status == "done" else "It went wrong."
        tests = [of] * len(rows[0]) if rows else []
        return Record(Cell(*named, data), seed, status, reason, upper_bound, "abc", tests, rows, **(measured | fields))

    return make
