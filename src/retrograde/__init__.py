"""retrograde: a continual-learning benchmark suite. The public names are in `__init__.pyi`; see the README."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
