"""Split streams: every task brings new classes."""

from dataclasses import dataclass

import numpy as np

from retrograde import Benchmark, Count, Dataset, Ints, Stream, UserError, generator, split_classes


@dataclass(frozen=True, kw_only=True)
class Split(Benchmark):
    """Split by class (Zenke et al. 2017, arXiv 1703.04200): each task brings its own classes.

    Classes that do not divide evenly go to the last task. The class order is drawn from the seed unless given.
    """

    tasks: Count = 5
    class_order: Ints = ()

    def cut(self, data: Dataset, seed: int) -> Stream:
        if self.tasks > data.classes:
            raise UserError(
                f"A split has at most one task per class; {data.name} has {data.classes}, tasks={self.tasks}."
            )
        if self.class_order and sorted(self.class_order) != list(range(data.classes)):
            raise UserError(
                f"class_order names each of 0 to {data.classes - 1} once; it is {self.class_order}."
            )
        order = np.array(self.class_order or generator(seed, "classes").permutation(data.classes))
        size = data.classes // self.tasks
        return split_classes(
            data, np.split(order, range(size, size * self.tasks, size)), self.scenario
        )
