"""Give the records of a store the digests of the present files of the parts that ship.

    python tools/refresh_digests.py STORE...

For a change of files that leaves every number as it is, such as a renamed method. It is right only
after one seed of every recorded cell was run again with the new files and agreed count for count;
CHANGELOG.md says when that was. Files of plugins and of users' models keep their digests.
"""

import json
import sys
from pathlib import Path
from typing import Any

from retrograde.parts.registry import Registry

ROLES = {"strategy": "strategies", "benchmark": "benchmarks"}


def refreshed(record: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """The record with the digests of the present files of shipped parts, if it has any."""
    sources = dict(record["sources"])
    for role, kind in ROLES.items():
        name = record["cell"][role]["name"]
        if role in sources and name in registry.names(kind):
            sources[role] = registry.code(registry.find(kind, name))
    return record | {"sources": sources}


def main(stores: list[str]) -> None:
    """Rewrite the records of stores in place."""
    registry = Registry()
    for folder in stores:
        changed = 0
        for path in sorted(Path(folder).rglob("seed-*.json")):
            old = json.loads(path.read_text())
            new = refreshed(old, registry)
            if new != old:
                path.write_text(json.dumps(new, separators=(",", ":"), ensure_ascii=False) + "\n")
                changed += 1
        sys.stdout.write(f"{folder}: {changed} records changed\n")


if __name__ == "__main__":
    main(sys.argv[1:])
