"""Prequential accuracy: predictions on incoming examples before a step trains on them."""

from dataclasses import dataclass

from retrograde.records.schema import Whole


@dataclass(frozen=True)
class Prequential:
    """Predictions on each incoming example, each time that it comes, before the step on it.

    Attributes:
        correct: number of correct predictions in each experience.
        examples: number of predictions in each experience.
    """

    correct: list[Whole]
    examples: list[Whole]

    def inconsistency(self, experiences: int) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            experiences: number of experiences of the stream.
        """
        if not len(self.correct) == len(self.examples) == experiences or not any(self.examples):
            return "prequential: the counts do not fit the experiences of the stream"
        pairs = zip(self.correct, self.examples, strict=True)
        if any(correct > most for correct, most in pairs):
            return "prequential: a count of correct predictions is above that of examples"
        return ""
