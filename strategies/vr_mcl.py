"""VR-MCL: continual MAML whose meta-gradient has less variance."""

from dataclasses import dataclass
from typing import Any

import torch

from retrograde import Net, Params, Rate, Share, State, StepData

from ._lookahead import LookAhead


@dataclass(frozen=True, kw_only=True)
class VRMCL(LookAhead):
    """Variance-reduced meta-continual learning (Wu et al. 2024, ICLR, equation 4).

    The meta-gradient g of C-MAML is replaced by v = g + momentum (v' - g'): v' is that of the last
    step, and g' is the meta-gradient of the present examples at the parameters before the last step
    (STORM, Cutkosky and Orabona 2019, arXiv 1905.10018). The first step follows g alone.

    Details are those of the authors' code (WuYichen-97/Meta-Continual-Learning-Revisited-ICLR2024,
    `models/vrmcl.py`): both meta-gradients are clipped by norm, and the meta-loss is the mean over
    all inner steps. There, entries of the inner gradients are clamped, and inner rates are learned
    from the sum of both meta-gradients; here they are fixed.
    """

    lr: Rate = 0.1  # of the meta-step
    inner_lr: Rate = 0.01  # of the inner steps, which collapse at 0.1 on split digits
    momentum: Share = 0.8  # r

    def init(self, net: Net, params: Params) -> dict[str, Any]:
        zeros = {name: torch.zeros_like(value) for name, value in params.items()}
        # 0 before the first step, which has no direction before it, and 1 later.
        begun = next(iter(zeros.values())).sum()
        return {"direction": zeros, "before": params, "begun": begun}

    def step(self, net: Net, state: State, data: StepData) -> State:
        rates = self.rates(state.params)
        last, before, begun = (state.extra[name] for name in ("direction", "before", "begun"))
        now, _ = self.meta_gradient(net, state.params, rates, data)
        then, _ = self.meta_gradient(net, before, rates, data)
        share = self.momentum * begun
        direction = {name: value + share * (last[name] - then[name]) for name, value in now.items()}
        after = net.update(state, direction, self.lr)
        extra = {"direction": direction, "before": state.params, "begun": torch.ones_like(begun)}
        return after.replace(extra=extra)
