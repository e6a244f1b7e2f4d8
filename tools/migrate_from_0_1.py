"""Move a store of retrograde 0.1 to the layout of 0.2: names, paths and digests.

    python tools/migrate_from_0_1.py OLD_STORE NEW_STORE

The old store stays as it is. Update rules of the shipped parts are the same in both versions, which
was shown by running one seed of every recorded cell again. So records of shipped parts get the
digests of the present files, and count as made by them. A plugin keeps its digests and the settings
that it defines; a file of its own that 0.2 makes you edit is measured anew.

Records that were set aside (`.damaged`, `.superseded-...`) are left behind; no report reads them. A
cell with a file of yours in its settings keeps its place, since its records do not name the folder
of that file: reports read them, and a run measures the cell anew.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.records.record import SCHEMA, Damaged, Record
from retrograde.records.store import Store

STREAM = {
    "examples": "train_examples",
    "tests": "test_examples",
    "test_every": "eval_every",
    "test_examples": "eval_examples",
    "probe": "probe_examples",
    "batch": "batch_size",
    "glances": "updates_per_batch",
}
EPISODES = {"tasks": "meta_batch_size", "checks": "evaluations"}
META_BASE = {"lr": "inner_lr", "optimizer": "inner_optimizer"}
META = {**META_BASE, "steps": "inner_steps"}
MEMORY = {"memory": "buffer_size", "draw": "replay_batch"}
LOOK_AHEAD = {
    "rate": "inner_lr",
    "chunk": "inner_batch",
    "floor": "nonnegative_lr",
    "rate_lr": "hyper_lr",
    **MEMORY,
}
PRETRAINED = {"moves": "trainable"}
FISHER = {"examples": "fisher_examples"}
SEQUENCE = {
    "lessons": "pretraining_steps",
    "trajectory": "trajectory_classes",
    "rehearsed": "remember_examples",
    "after": "test_after",
}

BENCHMARKS = {
    **dict.fromkeys(("avalanche", "split", "permuted", "rotated"), STREAM),
    **dict.fromkeys(("fewshot", "omniglot", "sinusoid"), EPISODES),
    "omniglot_sequence": {**STREAM, **SEQUENCE},
}
STRATEGIES = {
    **dict.fromkeys(("maml", "fomaml", "anil", "pretrain", "oracle", "scratch"), META),
    "metasgd": {**META, "frozen": "frozen_lr"},
    "reptile": {**META, "batch": "inner_batch"},
    "mamlpp": {**META, "learn_rates": "learn_lr"},
    **dict.fromkeys(("oml", "anml", "pretrained"), PRETRAINED),
    "maml_init": {**PRETRAINED, "steps": "inner_steps"},
    **dict.fromkeys(("cmaml", "lamaml", "sync", "laer"), LOOK_AHEAD),
    **dict.fromkeys(("er", "der", "derpp", "er_ace", "agem", "mir", "gem", "icarl", "mer"), MEMORY),
    "hal": {**MEMORY, "descents": "anchor_steps"},
    "fdr": {**MEMORY, "apart": "separate_step"},
    "gdumb": {**MEMORY, "batch": "batch_size"},
    "gss": {**MEMORY, "compare": "compared"},
    **dict.fromkeys(("ewc", "online_ewc"), FISHER),
    "joint": {"carry_on": "warm_start"},
    "si": {"floor": "nonnegative"},
    "rwalk": {"every": "update_every"},
    "xdg": {"active": "active_share"},
}
VALUES = {
    "policy": {"late": "ring-at-end", "late-reservoir": "reservoir-at-end"},
    "among": {"met": "seen"},
}
FIELDS = {
    "tests": "test_examples",
    "correct_told": "correct_given_task",
    "course": "online_accuracy",
    "knows": "knows_ahead",
}
CLOCKS = {"prepare": "pretrain", "watch": "online", "trial": "autotune"}
TIMINGS = {"together": "replicates", "ready": "warm_up", "rest": "training"}
ROLES = {"strategy": "strategies", "benchmark": "benchmarks"}
"""The kind of part for each role in a cell."""


def renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The same values, some of them under new names."""
    return {names.get(name, name): value for name, value in values.items()}


def new_names(name: str, role: str, few_shot: bool) -> dict[str, str]:
    """The new names of a part's settings, by the old ones.

    A plugin has those that every benchmark, or every meta-strategy, inherits.
    """
    if role == "benchmark":
        return BENCHMARKS.get(name, EPISODES if few_shot else STREAM)
    return STRATEGIES.get(name, META_BASE if few_shot else {})


def migrated_part(
    old: dict[str, Any],
    role: str,
    few_shot: bool,
    registry: Registry,
) -> dict[str, Any]:
    """The specification of a part with its settings under their new names."""
    name = old["name"]
    kind = ROLES[role]
    shipped = name in registry.names(kind)
    names = new_names(name, role, few_shot)
    settings = renamed(old["settings"], names)
    if shipped:
        for key, values in VALUES.items():
            if key in settings:
                settings[key] = values.get(settings[key], settings[key])
        part = registry.get(kind, name, settings)
        # Settings that were younger than the record come in with their defaults.
        return {
            "name": name,
            "settings": part.settings(),
            "overrides": part.overrides(),
            "version": part.version,
        }
    _, changed = parse(f":{old['changed']}")
    overrides = {key: settings[key] for key in settings if key in renamed(changed, names)}
    return {"name": name, "settings": settings, "overrides": overrides, "version": 1}


def migrated_sources(record: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """The digests of a record's files: for shipped parts, those of the present files."""
    cell = record["cell"]
    sources = dict(record.get("sources", {}))
    shipped = [role for role, kind in ROLES.items() if cell[role]["name"] in registry.names(kind)]
    own_model = ":" in str(cell["benchmark"]["settings"].get("model", ""))
    if not sources and "strategy" not in shipped and record.get("source"):
        # All that old records know of a plugin. Its file has another digest now, so that the
        # replicate is measured anew.
        return {"strategy": {f"{cell['strategy']['name']}.py": record["source"]}}
    # Some known files and some unknown ones would count as a change of the latter.
    if not sources and (len(shipped) < len(ROLES) or own_model):
        return {}
    for role in shipped:
        cls = registry.find(ROLES[role], cell[role]["name"])
        sources[role] = registry.code(cls)
    return sources


def migrated(record: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """A record in the new layout."""
    cell = record["cell"]
    few_shot = "test_tasks" in cell["benchmark"]["settings"]
    new = renamed(record, FIELDS)
    new.pop("source", None)
    new["schema"] = SCHEMA
    new["cell"] = dict(cell)
    for role in ROLES:
        new["cell"][role] = migrated_part(cell[role], role, few_shot, registry)
    new["sources"] = migrated_sources(record, registry)
    new["clocks"] = renamed(record["clocks"], CLOCKS)
    new["counts"] = renamed(record["counts"], {"new": "incoming"})
    how = dict(record["how"])
    if "trial" in how:
        how["timings"] = [renamed(timing, TIMINGS) for timing in how.pop("trial")]
    new["how"] = how
    if record.get("course"):
        new["online_accuracy"] = renamed(record["course"], {"tests": "test_examples"})
    if record.get("adaptation"):
        new["adaptation"] = renamed(record["adaptation"], {"checks": "evaluations"})
    return new


def read(path: Path) -> dict[str, Any]:
    """The document of an old record.

    Raises:
        UserError: it is none.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = int(record["schema"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(
            f"{path} cannot be read as a record ({error!r}). Take it out of the old store."
        ) from error
    if not 0 < schema <= SCHEMA:
        raise UserError(
            f"A record of retrograde 0.1 or 0.2 has a schema from 1 to {SCHEMA}; {path} has "
            f"{schema}. Take it out of the old store."
        )
    return record


def migrate(old: Path, new: Path) -> int:
    """Write the records of an old store into a new folder, and return their number.

    Raises:
        UserError: a record cannot be moved.
    """
    registry = Registry()
    store = Store(new)
    records: dict[Path, Record] = {}
    for path in sorted(old.glob("*/*/*/*.json")):
        if not re.match(r"seed-\d", path.name):
            continue
        document = read(path)
        try:
            # A run of 0.2 may have written into the old store.
            done = document["schema"] == SCHEMA
            now = document if done else migrated(document, registry)
            record = Record.from_json(json.dumps(now))
        except (UserError, Damaged, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} cannot be moved: {error}.") from error
        place = store.path(record.cell, record.seed)
        if place in records:
            raise UserError(f"{path} is a second record of seed {record.seed} of its cell.")
        records[place] = record
    # Nothing is written before every record is known to be whole.
    for record in records.values():
        store.write(record)
    return len(records)


def main(arguments: list[str]) -> str:
    """Run the command, and return a sentence on the outcome.

    Raises:
        UserError: the arguments are not two such folders, or a record cannot be moved.
    """
    if len(arguments) != 2:
        raise UserError("Give two folders: python tools/migrate_from_0_1.py OLD_STORE NEW_STORE")
    old, new = map(Path, arguments)
    if not old.is_dir():
        raise UserError(f"The old store is a folder; {old} is none.")
    if new.exists():
        raise UserError(f"The new store is a folder that does not exist yet; {new} does.")
    if old.resolve() in new.resolve().parents:
        raise UserError(f"The new store is outside of the old one; {new} is inside {old}.")
    count = migrate(old, new)
    if not count:
        raise UserError(
            f"The old store has records at BENCHMARK/STRATEGY/DIGEST/seed-N.json; {old} has none."
        )
    return f"{count} records are in {new}; {old} is as it was."


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))  # noqa: T201 - the sentence is its output
    except UserError as error:
        sys.exit(str(error))
