"""Statistics that a strategy logs about its own steps, such as the size of a penalty."""

from dataclasses import dataclass

from retrograde.records.schema import Whole


@dataclass(frozen=True)
class Statistics:
    """Means of a strategy's statistics over windows of steps, stored by column to be compact.

    A window ends every `Benchmark.log_every` steps of an experience, and at its end.

    Attributes:
        experience: for each window, the experience in training, counted from 0.
        step: for each window, the training steps so far, of the whole stream.
        means: for each statistic, by name, its mean over the steps of each window; None where it
            was not finite.
    """

    experience: list[Whole]
    step: list[Whole]
    means: dict[str, list[float | None]]

    def inconsistency(self, experiences: int) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            experiences: number of experiences of the stream.
        """
        windows = len(self.experience)
        lengths = {len(self.step), *(len(means) for means in self.means.values())}
        if lengths != {windows}:
            return "the windows of its statistics differ in number"
        ordered = self.experience == sorted(self.experience) and self.step == sorted(self.step)
        if not ordered or any(number >= experiences for number in self.experience):
            return "the windows of its statistics do not fit the stream"
        return ""
