"""Errors of PyTorch about code that runs for all replicates at once, in an author's words."""

import re

_SEVERAL = "a step runs for several replicates at once (torch.func.vmap)"

_RULES = (
    (
        r"attempting to use a Tensor in some data-dependent control flow\. ",
        f"Python cannot branch on a tensor, since {_SEVERAL}. "
        "Compute both branches and choose with torch.where(condition, a, b)",
    ),
    (
        r"either \(1\) calling \.item\(\)",
        f"a tensor cannot become a Python number or a condition, since {_SEVERAL}. "
        "Keep it a tensor; in place of a branch, write torch.where(condition, a, b)",
    ),
    (
        r"calling \.item\(\) on a Tensor",
        f"a tensor cannot become a Python number (item, float, int, a format), since {_SEVERAL}. "
        "Keep it a tensor; to look at it, print(tensor)",
    ),
    (
        r"Cannot access (data pointer of Tensor|storage of BatchedTensor)",
        f"a tensor cannot leave PyTorch (numpy, tolist, PIL, deepcopy), since {_SEVERAL}. "
        "Compute with tensors alone",
    ),
    (
        r"called random operation while in randomness error mode",
        "a step cannot draw from torch's own generator (torch.rand, a random transform of "
        "torchvision), since the numbers would not follow from the seed. "
        "Draw with net.uniform(n, name='...'), and choose by these numbers with torch.where",
    ),
    (
        r"do not support batching operators that can (support|output) dynamic shape",
        "a shape cannot depend on the values of a tensor (x[mask], nonzero, unique), since "
        f"{_SEVERAL}. Keep all rows, and give those that do not count a weight of 0",
    ),
    (
        r"in extra_args that has more elements than `self`"
        r"|^output with shape \[.*\] doesn't match the broadcast shape",
        "a tensor that is the same for all replicates, such as torch.zeros(n), or one of fewer "
        "elements, cannot be changed in place by one that differs between them. "
        "Return a new tensor: x + y for x.add_(y), torch.where for x[mask] = y",
    ),
    (
        r"leaf Variable that requires grad is being used in an in-place operation",
        "a tensor whose gradient is taken is changed in place. "
        "Return a new tensor: x + y for x.add_(y)",
    ),
    (
        r"backward\(\) called inside|requires_grad_\(\) .* inside of a function being transformed"
        r"|does not require grad and does not have a grad_fn",
        "backward() and torch.autograd.grad do not work in a step. "
        "Write net.grad(...), or net.grad_of_loss(loss, ...) for a loss of your own",
    ),
    (
        r"Expected f\(\*args\) to return a scalar",
        "a loss is one number, and this one has several. Take their mean: "
        "losses.mean(), or retrograde.mean(losses, batch.weight) without padding",
    ),
    (
        r"[Bb]atching rule not implemented|^vmap over .* isn't supported yet",
        f"PyTorch has no version of this operation for several replicates, and {_SEVERAL}. "
        "Write it with other operations",
    ),
)  # fmt: skip


def translated(text: str) -> str:
    """The rule and the remedy behind an error of `torch.func`; empty for any other text.

    Args:
        text: the text of an exception.
    """
    return next((rule for pattern, rule in _RULES if re.search(pattern, text)), "")
