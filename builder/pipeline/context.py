"""What every step is handed: the machine it runs on, as one value."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from builder.cache import Cache
from builder.content import Platform
from builder.progress import SILENT, Progress

__all__ = ["Context", "host_platform"]


@dataclass(frozen=True)
class Context:
    """This machine: its cache, its environment, and whoever watches."""

    cache: Cache
    environ: Mapping[str, str]
    progress: Progress = SILENT

    def with_cache(self, cache: Cache) -> Context:
        """The same machine with another cache."""
        return Context(cache, self.environ, self.progress)


def host_platform() -> Platform | None:
    """The platform whose programs run here, or None on one that images are not built for."""
    if platform.system() != "Linux":
        return None
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    return Platform("linux", architecture) if architecture else None
