"""Split streams: every task brings new classes."""

from dataclasses import dataclass

import numpy as np

from retrograde import Benchmark, Count, Dataset, Ints, Stream, UserError, generator, split_classes


@dataclass(frozen=True, kw_only=True)
class Split(Benchmark):
    """New classes in every task (Zenke et al. 2017, arXiv 1703.04200).

    Classes that do not divide evenly go to the last task. The class order is drawn from the seed
    unless `class_order` gives it.
    """

    tasks: Count = 5
    class_order: Ints = ()

    def cut(self, data: Dataset, seed: int) -> Stream:
        if self.tasks > data.classes:
            raise UserError(
                f"A split has at most one task per class; {data.name} has {data.classes}, "
                f"tasks={self.tasks}."
            )
        if self.class_order and sorted(self.class_order) != list(range(data.classes)):
            raise UserError(
                f"class_order names each of 0 to {data.classes - 1} once; it is {self.class_order}."
            )
        order = np.array(self.class_order or generator(seed, "classes").permutation(data.classes))
        size = data.classes // self.tasks
        # The last group takes the classes that remain.
        bounds = range(size, size * self.tasks, size)
        return split_classes(data, np.split(order, bounds), self.scenario)
