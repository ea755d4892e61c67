"""Lockship: lock a data-science project, ship it as a reproducible image, roll it back."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lockship")
except PackageNotFoundError:  # a source tree that isn't installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
