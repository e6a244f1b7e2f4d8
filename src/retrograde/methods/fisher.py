"""Fisher information: the sensitivity of the predicted distribution to each parameter."""

import math
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

In regression the squared error is minus a log-likelihood, up to a constant. `exact` is the mean
over values drawn from the model, and `empirical` takes those of the example; others need classes.

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
    if examples.y.is_floating_point():
        return _of_values(net, params, examples, kind, count)
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


def _of_values(net: Net, params: Params, examples: Batch, kind: Fisher, count: int) -> Params:
    """The information in regression; see `fisher_information`.

    The squared error, averaged over d values, belongs to normal distributions of variance d / 2.
    """
    if count:
        order = shuffled_rows(net.uniform(len(examples.x)), examples.weight)
        examples = examples.at(order[:count])
    d = net.outputs

    def directions(outputs: Float[Tensor, "row value"], rows: slice) -> Directions:
        if kind == "empirical":
            return 2 / d * (examples.y[rows] - outputs)[None]
        values = torch.eye(d, dtype=outputs.dtype, device=outputs.device)
        return math.sqrt(2 / d) * values[:, None].expand(d, *outputs.shape)

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
