"""The public names of this package."""

from .cache import (
    cache_folder as cache_folder,
    keep as keep,
)
from .dataset import (
    ARRAYS as ARRAYS,
)
from .files import (
    arrays as arrays,
    decoded as decoded,
    is_file as is_file,
    is_image as is_image,
)
from .torchvision import (
    import_torchvision as import_torchvision,
    not_had as not_had,
)
