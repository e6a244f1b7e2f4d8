"""CORe50: frames of 50 objects in 11 sessions, decoded once and kept."""

import re
from pathlib import Path

import numpy as np

from retrograde import Dataset
from retrograde.data import Prepared, decoded_once, prepared

SIDE = 32
"""The height and width of an example."""
ORIGINAL = 128
"""The height and width of the authors' cropped frames."""
OBJECTS = 50
SESSIONS = range(1, 12)
TEST_SESSIONS = (3, 7, 10)
CATEGORIES = (
    "plug adapter",
    "mobile phone",
    "scissors",
    "light bulb",
    "can",
    "glasses",
    "ball",
    "marker",
    "cup",
    "remote control",
)
"""The categories in their order; each has five objects, which follow one another."""
EACH = 5
SOURCE = (
    "Put core50_128x128.zip of the authors' page there, as it is: s1/o1/*.png to s11/o50/*.png, "
    "a folder for each session and object."
)


def objects(folder: Path) -> Dataset:
    """CORe50 with a class for each object, and the session of each training frame as its task."""
    source = prepared(folder, "core50_128x128", "CORe50", SOURCE)
    return decoded_once("core50", [source.path], lambda: _decoded(source))


def _decoded(source: Prepared) -> Dataset:
    """The frames in the order of session, object and name.

    Raises:
        UserError: A session lacks an object, or a frame is damaged or of another size.
    """
    frames = []
    for name in source.names:
        found = re.fullmatch(r"s(\d+)/o(\d+)/[^/]+\.png", name)
        if found:
            frames.append((int(found[1]), int(found[2]), name))
    frames.sort()
    wanted = {(session, one) for session in SESSIONS for one in range(1, OBJECTS + 1)}
    missing = sorted(wanted - {(session, one) for session, one, _ in frames})
    if missing:
        first = "s{}/o{}".format(*missing[0])
        raise source.broken(f"has no frames in {first}, in {len(missing)} folders in all")
    kept = [frame for frame in frames if frame[:2] in wanted]
    sessions = np.array([frame[0] for frame in kept])
    y = np.array([frame[1] - 1 for frame in kept])
    is_test = np.isin(sessions, TEST_SESSIONS)
    names = [frame[2] for frame in kept]
    # Training and test frames apart, so that no more than one copy is in memory.
    x_train, x_test = (
        source.images([names[place] for place in np.flatnonzero(part)], SIDE, ORIGINAL)
        for part in (~is_test, is_test)
    )
    numbered = tuple(f"{name} {one}" for name in CATEGORIES for one in range(1, EACH + 1))
    return Dataset(
        "core50",
        x_train,
        y[~is_test],
        x_test,
        y[is_test],
        scale=1 / 255,
        class_names=numbered[:OBJECTS],
        task_train=sessions[~is_test],
    )
