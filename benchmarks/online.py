"""Online streams: one example at a time, without boundaries."""

from dataclasses import dataclass, replace
from typing import Literal

from retrograde import Count, Dataset, Experience, Stream, generator

from ._class_groups import ClassGroups


@dataclass(frozen=True, kw_only=True)
class Online(ClassGroups):
    """One pass over a whole stream in one experience, by default one example at a time.

    Classes come in the order of a split stream, or all mixed. The learner is never told where one
    task ends; `eval_every` says how often it is evaluated on the way.
    """

    boundaries: Literal["known", "unknown"] = "unknown"
    batch_size: Count = 1
    # Classes come task by task, or all examples in random order.
    order: Literal["tasks", "mixed"] = "tasks"

    def cut(self, data: Dataset, seed: int) -> Stream:
        stream = self.class_split(data, seed)
        parts = [
            each.at(generator(seed, "online", number).permutation(len(each.row)))
            for number, each in enumerate(stream.experiences)
        ]
        whole = Experience.concat(parts)
        if self.order == "mixed":
            whole = whole.at(generator(seed, "online").permutation(len(whole.row)))
        return replace(stream, experiences=(whole,), ordered=True)
