"""Digests of the experiences of a stream, by which a longer stream knows a shorter one."""

import hashlib
from collections.abc import Iterator

import numpy as np

from retrograde.streams.stream import Examples, Experience, Stream


def experience_digests(stream: Stream) -> list[str]:
    """A digest of each experience: of all that decides what is learned and how it is measured.

    They are the examples to train on, the test and validation examples of their tasks, the output
    units of these, and when they count as learned. The first digest is also of what comes before
    training.
    """
    digests = []
    for number, experience in enumerate(stream.experiences):
        content = hashlib.sha256()
        for part in _content(stream, experience):
            content.update(part)
        if number == 0:
            content.update(_before(stream))
        digests.append(content.hexdigest()[:12])
    return digests


def _content(stream: Stream, experience: Experience) -> Iterator[bytes]:
    yield from _seen(stream, experience, experience.views)
    yield experience.task.tobytes()
    tasks = experience.tasks
    for values in (tasks, stream.units[tasks], stream.learned[tasks]):
        yield values.tobytes()
    for number in tasks.tolist():
        task = stream.tasks[number]
        for examples in (task.test, task.validation):
            views = np.broadcast_to(np.asarray(examples.views(number)), examples.row.shape)
            yield from _seen(stream, examples, views)


def _seen(stream: Stream, examples: Examples | Experience, views: np.ndarray) -> Iterator[bytes]:
    """The rows and targets of examples, and how their pixels are seen."""
    yield examples.row.tobytes()
    yield examples.y.tobytes()
    if stream.targets is not None:
        yield stream.targets[examples.y].tobytes()
    if stream.pixels is not None:
        seen, places = np.unique(views, return_inverse=True)
        yield stream.pixels[seen].tobytes()
        yield places.tobytes()


def _before(stream: Stream) -> bytes:
    """What is known before the first experience."""
    given = stream.pretraining
    rows = given and (given.examples.row.tolist(), given.examples.y.tolist(), given[1:])
    return repr((stream.ordered, stream.channels, rows)).encode()
