"""Lockship: lock a data-science project, ship it as a reproducible image, roll it back."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """`__version__`, looked up when asked for: finding it costs more than all of ``lockship --help``."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lockship")
    except PackageNotFoundError:  # a source tree that isn't installed
        return "0+unknown"
