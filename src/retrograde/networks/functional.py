"""Modules as functions of their tensors: the model, its body, and modules of the strategy's own."""

import copy
from collections.abc import Iterable
from itertools import chain

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from retrograde.networks.calls import Trial, perceptron_layers, trial
from retrograde.networks.checks import channels_last, takes_channels_last, untracked
from retrograde.networks.dropout import key_names, keyed
from retrograde.networks.head import headless
from retrograde.optim import Params

MODEL = "model"
"""The name of the benchmark's model; its tensors have the names that they have in the module."""
BODY = "body"
"""The name of the model without its head."""


class Networks:
    """Modules that are called with given tensors and keep none of their own.

    Args:
        model: The model.
        own: Modules of the strategy's own, by name. The tensors of `own["gate"]` are named
            `gate.NAME`, as if they were part of the model.
        statistics: True if training changes buffers of the modules.
        features: False if what comes before the head of the model is not its features.
    """

    def __init__(
        self,
        model: nn.Module,
        own: dict[str, nn.Module] | None = None,
        statistics: bool = False,
        features: bool = True,
    ) -> None:
        own = own or {}
        modules = {MODEL: model, **own}
        body = headless(model) if features else None
        if body is not None:
            modules[BODY] = body
        self.own = tuple(own)
        self.convolves = any(map(convolves, modules.values()))
        self.channels_last = False
        self.statistics = statistics
        # A file of the user's may change, so that a model of the same name is another one.
        self.kinds = tuple((type(module), repr(module)) for module in modules.values())
        self.names = {name: _names(name, module, own) for name, module in modules.items()}
        modules = {name: keyed(module) for name, module in modules.items()}
        self.random = {name: key_names(module) for name, module in modules.items()}
        # Without a gradient a pass may be within any `vmap`, where it is an error to write to
        # running statistics that are shared.
        self.training = {name: untracked(module).train() for name, module in modules.items()}
        self.tracking = {
            name: copy.deepcopy(module).train() for name, module in modules.items() if statistics
        }
        self.evaluating = {name: untracked(module).eval() for name, module in modules.items()}
        # Calls may leave tensors of a `vmap` in a module, which cannot be copied then.
        self._pristine = copy.deepcopy(self.evaluating[MODEL])
        self._perceptron: dict[tuple[int, ...], tuple[str, ...]] = {}

    def trial(self, shape: tuple[int, ...]) -> Trial:
        """A pass of made-up examples of a shape through the model, in evaluation mode."""
        return trial(self._pristine, shape)

    def perceptron_layers(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """The linear layers of the model if it is a multi-layer perceptron with ReLUs; else none.

        Args:
            shape: The shape of one example.
        """
        # Kept, since every step asks again; a trial's operations would be part of a trace.
        if shape not in self._perceptron:
            self._perceptron[shape] = perceptron_layers(self._pristine, shape)
        return self._perceptron[shape]

    def prefer_channels_last(self, x: Float[Tensor, "row *shape"]) -> None:
        """Hand images to the model with their channels last in memory, if it takes them so.

        Convolutions on a CPU take two thirds of the time then.

        Args:
            x: Some examples to try.
        """
        self.channels_last = takes_channels_last(self.training[MODEL], x)

    def laid_out(self, name: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The inputs of a module in the memory format that it takes."""
        if not self.channels_last or name in self.own:
            return inputs
        return tuple(map(channels_last, inputs))

    def without_statistics(self) -> "Networks":
        """The same modules, of which no pass changes running statistics."""
        twin = copy.copy(self)
        twin.statistics = False
        return twin

    @property
    def model(self) -> nn.Module:
        """The model, in training mode."""
        return self.training[MODEL]

    @property
    def has_body(self) -> bool:
        """True if the model has a head, and so features."""
        return BODY in self.names


def convolves(module: nn.Module) -> bool:
    """True if a module has layers of convolution."""
    return any(isinstance(layer, _ConvNd) for layer in module.modules())


def _names(name: str, module: nn.Module, own: Iterable[str]) -> dict[str, str]:
    """For each tensor of a module, by its name there, the name among all tensors."""
    prefix = f"{name}." if name in own else ""
    named = chain(module.named_parameters(), module.named_buffers())
    return {key: prefix + key for key, _ in named}


def called(
    module: nn.Module,
    names: dict[str, str],
    tensors: Params,
    inputs: tuple[Tensor, ...],
    keys: Params,
) -> tuple[Tensor, Params]:
    """Call a module with given tensors.

    Args:
        module: The module.
        names: The name of each of its tensors among `tensors`.
        tensors: Tensors by name; the module may write to them.
        inputs: The inputs of the module.
        keys: The keys of its dropout layers, by their own names.

    Returns:
        The outputs, and the tensors that the module was called with, by their own names.
    """
    given = {key: tensors[name] for key, name in names.items()}
    outputs: Tensor = functional_call(module, given | keys, inputs)
    return outputs, given
