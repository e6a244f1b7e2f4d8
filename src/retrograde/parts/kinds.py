"""The kinds of part: a folder of the suite for each."""

KINDS = {
    "benchmarks": ("Benchmark", "EpisodicBenchmark"),
    "strategies": ("Strategy", "Learner", "MetaStrategy"),
    "results": ("TableResult", "FigureResult"),
    "models": ("Model",),
    "datasets": ("DataSource",),
}
"""The kinds of part, each with the classes that a part of this kind derives from."""
