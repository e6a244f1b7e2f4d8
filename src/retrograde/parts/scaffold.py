"""A working strategy or meta-strategy to start from."""

import keyword
from pathlib import Path

from retrograde.errors import UserError
from retrograde.parts.registry import KINDS, Registry

STRATEGY = '''"""{title}: what it does, in one line."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde.streams.memory import Memory, Reservoir
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.parts.fields import Count, Rate
from retrograde.interface.strategy import Arrival, Strategy, Weighing


@dataclass(frozen=True)
class {title}(Strategy):
    """What it does, and where it comes from (authors, year, arXiv number).

    The fields are its settings: `--strategy {name}:lr=0.05,memory=500`. The methods are pure functions of tensors,
    written for one replicate; the engine runs all replicates at once and compiles the step. It may also define `init`
    (tensors of its own, kept in `state.extra`: a counter, an anchor), `end_task`, `predict` and `schedule`: see
    retrograde.interface.strategy.
    """

    weighing: ClassVar[Weighing | None] = "heeds"  # the loss on `with_memory` is weighed as the benchmark says

    lr: Rate = 0.1
    memory: Count = 200  # examples kept
    draw: Count = 10  # examples replayed per step

    def remember(self) -> Memory:
        return Reservoir(self.memory, self.draw)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        gradient = net.grad(state.params, arrival.with_memory)  # the new examples and those drawn from memory
        return net.descend(state, gradient, self.lr)
'''


META_STRATEGY = '''"""{title}: what it does, in one line."""

from dataclasses import dataclass

from torch import Tensor

from retrograde.interface.metastrategy import Episode, MetaStrategy
from retrograde.interface.net import Net
from retrograde.optim import Params
from retrograde.parts.fields import Share, Steps


@dataclass(frozen=True, kw_only=True)
class {title}(MetaStrategy):
    """What it does, and where it comes from (authors, year, arXiv number).

    The fields are its settings, beside those of every meta-strategy: `--strategy {name}:lr=0.05,steps=3`. The methods are pure
    functions of tensors, written for one replicate and one task; the engine runs all at once and compiles the meta-step. It may
    also define `learned` (what is meta-learned beside the initial parameters), `inner` (one inner step) and `meta_step`: see
    retrograde.interface.metastrategy.
    """

    steps: Steps = 1  # inner steps while meta-training
    support: Share = 0.1  # the weight of the support's loss beside the query's

    def task_loss(self, net: Net, learned: Params, episode: Episode, progress: Tensor) -> Tensor:
        adapted = self.adapted(net, learned, episode.support, self.steps)
        return net.loss(adapted, episode.query) + self.support * net.loss(adapted, episode.support)
'''

TEMPLATES = {"strategy": STRATEGY, "metastrategy": META_STRATEGY}


def write_part(kind: str, name: str) -> Path:
    """Write `name`.py into the current folder; raises `UserError` rather than replace a file."""
    if kind not in TEMPLATES:
        raise UserError(f"`retrograde new` writes a strategy or a metastrategy; it was asked for {kind!r}.")
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(f"A strategy's name is a Python name in lower case, such as my_replay; it was {name!r}.")
    taken = Registry()
    if kinds := [each for each in KINDS if name in taken.names(each)]:
        raise UserError(f"{name} is the name of one of the {kinds[0]} already. Choose another name.")
    path = Path(f"{name}.py")
    if path.exists():
        raise UserError(f"{path} is there already. Choose another name or move it away.")
    title = "".join(word.capitalize() for word in name.split("_"))
    path.write_text(TEMPLATES[kind].format(name=name, title=title), encoding="utf-8")
    return path
