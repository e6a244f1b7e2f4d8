"""Make a stream file from the lists that Rainbow Memory (Bang et al. 2021) publishes.

    python tools/rainbow_memory_stream.py OUT.json TASK0.json TASK1.json ... --test TEST0.json ...

Each list is of one task: [{"file_name": "train/9/45787.png", "klass": 9, "label": 1}, ...]; the
number of a file is its row in the dataset. An example that a list has twice is taken once.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path


def rows(path: Path) -> list[int]:
    """The rows of one list, in its order."""
    entries = json.loads(path.read_text())
    return list(dict.fromkeys(int(Path(entry["file_name"]).stem) for entry in entries))


def classes(path: Path) -> list[int]:
    """The classes of one list, in order."""
    return sorted({int(entry["klass"]) for entry in json.loads(path.read_text())})


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the stream file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("--test", type=Path, nargs="+", default=[])
    given = parser.parse_args(arguments)
    content: dict[str, list[object]] = {"experiences": [rows(path) for path in given.train]}
    if given.test:
        content["classes"] = [classes(path) for path in given.test]
        content["test"] = [rows(path) for path in given.test]
        content["learned_after"] = [*range(len(given.test))]
    given.out.write_text(json.dumps(content))


if __name__ == "__main__":
    main()
