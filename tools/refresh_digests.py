"""Bring the digests and overrides in the records of a store up to date with the parts that ship.

    python tools/refresh_digests.py STORE...

For a change of files that leaves every number as it is, such as a renamed method. It is right only
after one seed of every recorded cell was run again with the new files and agreed count for count;
CHANGELOG.md says when that was. Files of plugins and of users' models keep their digests.

A record states every setting, and is filed under those that differ from their defaults. Where a
default has changed, the record moves to the folder of the cell that it is now.
"""

import json
import sys
from pathlib import Path
from typing import Any

from retrograde.parts.registry import Registry
from retrograde.records.record import Record
from retrograde.records.store import Store

ROLES = {"strategy": "strategies", "benchmark": "benchmarks"}


def refreshed(record: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """The record with what the present files of shipped parts say, if it has any."""
    sources, cell = dict(record["sources"]), dict(record["cell"])
    for role, kind in ROLES.items():
        name = cell[role]["name"]
        if role in sources and name in registry.names(kind):
            sources[role] = registry.code(registry.find(kind, name))
            part = registry.get(kind, name, cell[role]["settings"])
            cell[role] = cell[role] | {"overrides": part.overrides()}
    return record | {"sources": sources, "cell": cell}


def main(stores: list[str]) -> None:
    """Rewrite the records of stores in place."""
    registry = Registry()
    for folder in stores:
        changed = 0
        for path in sorted(Path(folder).rglob("seed-*.json")):
            old = json.loads(path.read_text())
            new = refreshed(old, registry)
            if new != old:
                text = json.dumps(new, separators=(",", ":"), ensure_ascii=False) + "\n"
                record = Record.from_json(text)
                place = Store(Path(folder)).path(record.cell, record.seed)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
                # only now, so that no record is lost
                if place != path:
                    path.unlink()
                changed += 1
        sys.stdout.write(f"{folder}: {changed} records changed\n")


if __name__ == "__main__":
    main(sys.argv[1:])
