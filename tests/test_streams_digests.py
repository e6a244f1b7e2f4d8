"""The digest of an experience changes with all that decides what is learned of it."""

from dataclasses import replace

import numpy as np
import pytest

from retrograde.contract.toys import Blobs, blobs
from retrograde.streams.digests import experience_digests

STREAM = Blobs().stream(blobs(), 0)
FIRST, SECOND, _ = STREAM.experiences
# Of two tasks, so that only the place of an example in them may differ.
MIXED = FIRST.concat([FIRST, SECOND])


def digests(**changes):
    experiences = (MIXED._replace(**changes), *STREAM.experiences[1:])
    return experience_digests(replace(STREAM, experiences=experiences))


@pytest.mark.parametrize("field", ["row", "y", "task"])
def test_the_order_of_each_column_counts(field):
    turned = np.roll(getattr(MIXED, field), 1)
    given, found = digests(), digests(**{field: turned})
    assert found[0] != given[0]
    assert found[1:] == given[1:]
