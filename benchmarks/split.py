"""Split streams: every task brings new classes."""

from dataclasses import dataclass

from retrograde import Dataset, Stream

from ._class_groups import ClassGroups


@dataclass(frozen=True, kw_only=True)
class Split(ClassGroups):
    """New classes in every task (Zenke et al. 2017, arXiv 1703.04200).

    Classes that do not divide evenly go to the last task, unless `sizes` says how many each task
    has. The class order is drawn from the seed unless `class_order` gives it.
    """

    def cut(self, data: Dataset, seed: int) -> Stream:
        return self.class_split(data, seed)
