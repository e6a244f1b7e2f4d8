"""Tests live in a stricter world: shapes and types in annotations are checked at every call."""

from jaxtyping import install_import_hook

CHECKED = ("data", "evaluation", "learner", "memory", "models", "net", "opaque", "optim", "schedule", "score", "seeds",
           "stats", "stream", "vectorise", "benchmarks", "strategies")  # fmt: skip
install_import_hook([f"retrograde.{name}" for name in CHECKED], "beartype.beartype")
