"""A registry of the bench's own: Debian's ``docker-registry`` (Distribution), with a proxy in front that counts."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import CommandError
from bench.traffic import Counted, Traffic, counted

__all__ = ["Registry", "registry"]

_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry: at `direct`, and at `host`, where each byte is counted."""

    direct: str
    proxy: Counted
    folder: Path
    log: Path

    @property
    def host(self) -> str:
        """Where clients that are measured find it."""
        return self.proxy.host

    def traffic(self) -> Traffic:
        """Bytes by now."""
        return self.proxy.traffic()

    def keep(self) -> None:
        """Remember what it stores now."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self._storage, self._kept)

    def restore(self) -> None:
        """Back to what was remembered; the registry keeps nothing in memory."""
        shutil.rmtree(self._storage)
        shutil.copytree(self._kept, self._storage)

    @property
    def _storage(self) -> Path:
        return self.folder / "storage"

    @property
    def _kept(self) -> Path:
        return self.folder / "kept"

    def requests(self, method: str, status: int) -> int:
        """How many requests with this method got this answer, as the access log has it."""
        return len(re.findall(rf'"{method} [^"]*" {status} ', self.log.read_text(errors="replace")))


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """An empty registry, gone with the context. Raises CommandError when none can be started."""
    from tests.support.registry import serve_registry

    if not (shutil.which("docker-registry") or shutil.which("registry")):
        raise CommandError("docker-registry is not installed (on Debian: apt-get install docker-registry)")
    place = folder / f"registry-{next(_NUMBERS)}"
    shutil.rmtree(place, ignore_errors=True)
    try:
        with serve_registry(place) as server, counted(server.host, place / "traffic") as proxy:
            yield Registry(server.host, proxy, place, server.log)
    finally:
        shutil.rmtree(place, ignore_errors=True)
