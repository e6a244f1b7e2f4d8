"""Fisher information: the sensitivity of the predicted distribution to each parameter."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.methods.per_example import Directions, mean_powers
from retrograde.methods.sampling import shuffled_rows
from retrograde.optim import Params

Fisher = Literal["exact", "sampled", "predicted", "empirical", "weighted"]
"""The estimator: the class whose log-likelihood has its gradient squared.

- `exact`: every class, weighted by its predicted probability.
- `sampled`: one class, drawn with that probability.
- `predicted`: the most probable class (as in the code of Hsu et al. 2018, arXiv 1810.12488).
- `empirical`: the label.
- `weighted`: the label, weighted by its predicted probability (as in Mammoth).
"""


def fisher_information(
    net: Net, params: Params, examples: Batch, kind: Fisher, count: int
) -> Params:
    """The diagonal of the Fisher information, a mean over examples.

    If the task is given, the distribution is that over the task's units.

    Args:
        net: the model.
        params: the parameters at which the information is measured.
        examples: the examples.
        kind: the estimator.
        count: the number of examples, drawn at random; 0: all.
    """
    random = net.uniform(len(examples.x), 1 + net.outputs)
    if count:
        chosen = shuffled_rows(random[:, 0], examples.weight)[:count]
        examples = examples.at(chosen)
        random = random[chosen]

    def directions(outputs: Float[Tensor, "row unit"], rows: slice) -> Directions:
        probabilities = outputs.softmax(-1)
        # The first of competing exponential clocks is a draw from their normalised rates.
        clocks = -random[rows, 1:].log()
        drawn = (probabilities / clocks).argmax(-1)
        chosen = {"sampled": drawn, "predicted": probabilities.argmax(-1)}
        y = chosen.get(kind, examples.y[rows])
        return _directions(probabilities, y, kind)

    return mean_powers(net, params, examples, directions, power=2)


def _directions(
    probabilities: Float[Tensor, "row unit"], y: Int64[Tensor, " row"], kind: Fisher
) -> Directions:
    """Gradients of log-likelihoods with respect to the outputs.

    Each is multiplied by the square root of the weight that its square has.

    Args:
        probabilities: the predicted distributions.
        y: the class of each row; ignored by `exact`.
        kind: the estimator.
    """
    units = probabilities.shape[1]
    if kind == "exact":
        classes = torch.eye(units, device=y.device)[:, None]
        roots = probabilities.T.sqrt()[..., None]
        return (classes - probabilities) * roots
    label = one_hot(y, units)
    root: Tensor | int = 1
    if kind == "weighted":
        label_probability = (probabilities * label).sum(-1, keepdim=True)
        root = label_probability.sqrt()
    return ((label - probabilities) * root)[None]
