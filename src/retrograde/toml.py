"""The reader of TOML: the standard library's, which Python 3.10 lacks."""

import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["tomllib"]
