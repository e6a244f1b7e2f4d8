"""The number of steps of every experience, which is known before anything trains."""

import numpy as np

from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy
from retrograde.streams.schedule import Schedule
from retrograde.streams.stream import Stream


def total_steps(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    streams: list[Stream],
) -> int:
    """Number of steps of a whole run: those of the replicate that takes the most.

    An upper bound if the strategy trains on the content of its memory.
    """
    return max(sum(experience_steps(benchmark, strategy, stream)) for stream in streams)


def experience_steps(
    benchmark: Benchmark,
    strategy: Strategy | Learner,
    stream: Stream,
) -> list[int]:
    """Number of steps of each experience for one replicate.

    An upper bound if the strategy trains on the content of its memory.
    """
    schedule = Schedule()
    capacity = 0
    if isinstance(strategy, Strategy):
        schedule = strategy.schedule()
        memory = strategy.memory()
        capacity = memory.size if memory else 0
    steps = []
    for experience, examples in enumerate(_candidates(schedule, capacity, stream)):
        _, of_experience = schedule.length(benchmark, examples, experience + 1)
        steps.append(of_experience)
    return steps


def _candidates(schedule: Schedule, capacity: int, stream: Stream) -> list[int]:
    """Number of examples that each experience trains on, if the memory is as full as it can be."""
    sizes = [len(experience.row) for experience in stream.experiences]
    incoming = np.array(sizes)
    so_far = np.cumsum(incoming)
    stored_before = np.minimum(so_far - incoming, capacity)
    times = np.ones_like(incoming)
    if schedule.repeat_memory:
        times = np.maximum(1, incoming // np.maximum(1, stored_before))
    candidates = {
        "incoming": incoming,
        "incoming and memory": incoming + times * stored_before,
        "memory": np.minimum(so_far, capacity),
        "all so far": so_far,
    }
    examples: list[int] = candidates[schedule.examples].tolist()
    return examples
