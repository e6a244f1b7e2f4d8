"""Streams of files: which examples come in which experience is written down."""

from dataclasses import dataclass

from retrograde import Benchmark, Dataset, Stream, UserError, stream_from_file


@dataclass(frozen=True, kw_only=True)
class StreamOfFile(Benchmark):
    """The experiences that a file lists, by the rows of a dataset's training examples.

    The file is a JSON object: `experiences` has a list of rows for each experience. `classes`, the
    classes of each task, and `test`, the rows of each task's test examples, are optional: by
    default, the classes that are new in an experience make a task, which is tested on all of them.
    So are `learned_after`, the experience after which each task counts as learned, and `ordered`,
    true if examples come in the order of the file.
    `rg.save_stream` writes such a file.
    """

    file: str = ""

    def input_files(self) -> tuple[str, ...]:
        return (self.file,) if self.file else ()

    def cut(self, data: Dataset, seed: int) -> Stream:
        if not self.file:
            raise UserError("A stream of a file needs one: give stream:file=PATH.")
        return stream_from_file(self.file, data, self.scenario)
