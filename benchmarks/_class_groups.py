"""Streams whose tasks are groups of classes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from retrograde import (
    Benchmark,
    Classes,
    Count,
    Dataset,
    Ints,
    Stream,
    UserError,
    generator,
    nearest,
    split_classes,
)


@dataclass(frozen=True, kw_only=True)
class ClassGroups(Benchmark):
    """A stream whose tasks are groups of classes.

    Classes that do not divide evenly go to the last task. The class order is drawn from the seed
    unless `class_order` gives it.
    """

    tasks: Count = 5
    # Each class once, by its number or its name, such as cat,dog.
    class_order: Classes = ()
    # The number of classes of each task, such as 50,10,10,10,10,10; empty: as equal as can be.
    sizes: Ints = ()

    def class_split(self, data: Dataset, seed: int) -> Stream:
        """The split stream of these classes: each experience trains one task.

        Raises:
            UserError: The settings do not fit the classes of the dataset.
        """
        return split_classes(data, self.groups(data, seed), self.scenario)

    def groups(self, data: Dataset, seed: int) -> list[Int64[np.ndarray, " _"]]:
        """The classes of each task, in the order of the stream."""
        classes = data.classes
        given = [_number(each, data) for each in self.class_order]
        if given and sorted(given) != list(range(classes)):
            raise UserError(
                f"class_order names each of 0 to {classes - 1} once; it is {self.class_order}."
            )
        order = np.array(given or generator(seed, "classes").permutation(classes))
        if self.sizes:
            self._check_sizes(classes)
            return np.split(order, np.cumsum(self.sizes[:-1]))
        if self.tasks > classes:
            raise UserError(
                f"A split has at most one task per class; {data.name} has {classes}, "
                f"tasks={self.tasks}."
            )
        size = classes // self.tasks
        # The last group takes the classes that remain.
        bounds = range(size, size * self.tasks, size)
        return np.split(order, bounds)

    def _check_sizes(self, classes: int) -> None:
        if min(self.sizes) < 1 or sum(self.sizes) != classes:
            raise UserError(
                f"sizes has the number of classes of each task, at least 1, {classes} in all; "
                f"it is {self.sizes}, {sum(self.sizes)} in all."
            )
        if self.tasks not in (type(self).tasks, len(self.sizes)):
            raise UserError(
                f"sizes gives {len(self.sizes)} tasks, and tasks={self.tasks}. Leave out tasks."
            )


def _number(named: int | str, data: Dataset) -> int:
    """The number of a class that is given by its number or its name.

    Raises:
        UserError: No class of the dataset has this name.
    """
    if isinstance(named, int):
        return named
    if not data.class_names:
        raise UserError(
            f"The classes of {data.name} have no names; class_order has {named!r}. Give each of "
            f"0 to {data.classes - 1} once."
        )
    if named not in data.class_names:
        raise UserError(
            f"class_order has the names or numbers of classes; {data.name} has no class "
            f"{named!r}. {nearest(named, data.class_names)}"
        )
    return data.class_names.index(named)
