"""The public names of this package."""

from .decoding_cache import (
    decoded_once as decoded_once,
)
from .files import (
    decoded as decoded,
    image_folder as image_folder,
    is_file as is_file,
    is_image as is_image,
)
from .prepared import (
    Prepared as Prepared,
    prepared as prepared,
)
from .torchvision import (
    import_torchvision as import_torchvision,
    not_had as not_had,
)
