"""Move a store of retrograde 0.1 to the layout of 0.2: names, paths and digests.

    python tools/migrate_from_0_1.py OLD_STORE NEW_STORE

The old store stays as it is. Update rules of the shipped parts are the same in both versions, which
was shown by running one seed of every recorded cell again. So records of shipped parts get the
digests of the present files, and count as made by them. A plugin keeps its digests and its
settings; a file of its own that 0.2 makes you edit is measured anew.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.records.record import SCHEMA, Record
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
META = {"lr": "inner_lr", "optimizer": "inner_optimizer", "steps": "inner_steps"}
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


def renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The same values, some of them under new names."""
    return {names.get(name, name): value for name, value in values.items()}


def migrated_part(old: dict[str, Any], kind: str, registry: Registry) -> dict[str, Any]:
    """The specification of a part with its settings under their new names."""
    name = old["name"]
    names = (BENCHMARKS if kind == "benchmarks" else STRATEGIES).get(name, {})
    settings = renamed(old["settings"], names)
    for key, values in VALUES.items():
        if key in settings:
            settings[key] = values.get(settings[key], settings[key])
    if name in registry.names(kind):
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
    sources = dict(record.get("sources", {}))
    for role, kind in (("strategy", "strategies"), ("benchmark", "benchmarks")):
        name = record["cell"][role]["name"]
        if record["status"] != "failed" and name in registry.names(kind):
            sources[role] = registry.code(registry.find(kind, name))
    return sources


def migrated(record: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """A record in the new layout."""
    cell = record["cell"]
    new = renamed(record, FIELDS)
    new.pop("source", None)
    new["schema"] = SCHEMA
    new["cell"] = {
        **cell,
        "benchmark": migrated_part(cell["benchmark"], "benchmarks", registry),
        "strategy": migrated_part(cell["strategy"], "strategies", registry),
    }
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


def migrate(old: Path, new: Path) -> int:
    """Write the records of an old store into a new folder, and return their number."""
    registry = Registry()
    store = Store(new)
    paths = [path for path in sorted(old.glob("*/*/*/*.json")) if re.match(r"seed-\d", path.name)]
    for path in paths:
        text = json.dumps(migrated(json.loads(path.read_text(encoding="utf-8")), registry))
        store.write(Record.from_json(text))
    return len(paths)


def main(arguments: list[str]) -> str:
    """Run the command, and return a sentence on what was done or why nothing was."""
    if len(arguments) != 2:
        return "Give two folders: python tools/migrate_from_0_1.py OLD_STORE NEW_STORE"
    old, new = map(Path, arguments)
    if not old.is_dir():
        return f"The old store is a folder; {old} is none."
    if new.exists():
        return f"The new store is a folder that does not exist yet; {new} does."
    return f"{migrate(old, new)} records are in {new}; {old} is as it was."


if __name__ == "__main__":
    print(main(sys.argv[1:]))  # noqa: T201 - the sentence is its output
