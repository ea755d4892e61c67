"""Build contexts: what a team keeps beside its Dockerfile, once per contestant."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.engine import Engine, dockerfile
from bench.measure import Cost
from bench.project import write_tree
from bench.sides import Side

__all__ = ["Context"]

_NONCES: Iterator[int] = itertools.count(1)


@dataclass
class Context:
    """The context of `side`; `files` come from the folder `source`. The image is `tag`."""

    engine: Engine
    side: Side
    folder: Path
    source: Path
    files: Sequence[str] = ()
    name: str = "example"
    lock: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_tree(self.folder, self.source, self.files)

    @property
    def tag(self) -> str:
        """The image's name."""
        return f"lockship-bench-{self.name}-{self.side.tool}{'-bytecode' if self.side.bytecode else ''}:1"

    @property
    def cache(self) -> str:
        """The cache mount that is filled before anything is measured; with and without byte code share it."""
        return f"lockship-bench-{self.side.tool}"

    def write(self, lock: bytes, *, cache: str | None = None, offline: bool | None = None) -> None:
        """The lock and the Dockerfile. uv works offline from a filled cache, pip has no such mode."""
        self.lock = lock
        (self.folder / "requirements.lock").write_bytes(lock)
        warm = cache is None if offline is None else offline
        text = dockerfile(self.side, cache or self.cache, self.files, offline=warm and self.side.tool == "uv")
        (self.folder / "Dockerfile").write_text(text)

    def touch(self) -> None:
        """The same lock with another comment: the build cache does not know it, nothing else changes."""
        (self.folder / "requirements.lock").write_bytes(self.lock + b"# run %d\n" % next(_NONCES))

    def build(self) -> Cost:
        """Run ``docker build``."""
        return self.engine.build(self.folder, self.tag)
