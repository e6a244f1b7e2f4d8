"""Online streams: one example at a time, without boundaries."""

from dataclasses import dataclass, replace
from typing import Literal

from retrograde import Count, Dataset, Experience, Stream, generator

from ._class_groups import ClassGroups


@dataclass(frozen=True, kw_only=True)
class Online(ClassGroups):
    """One pass over a stream, by default one example at a time, without boundaries.

    Classes come task by task, as in a split stream, or all mixed in one experience. The learner is
    evaluated when a task is over, but never told; `eval_every` asks for more evaluations.
    """

    boundaries: Literal["known", "unknown"] = "unknown"
    batch_size: Count = 1
    order: Literal["tasks", "mixed"] = "tasks"

    def cut(self, data: Dataset, seed: int) -> Stream:
        stream = self.class_split(data, seed)
        if self.order == "tasks":
            return stream
        whole = Experience.concat(stream.experiences)
        order = generator(seed, "online").permutation(len(whole.row))
        return replace(stream, experiences=(whole.at(order),))
