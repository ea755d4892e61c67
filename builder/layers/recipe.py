"""What a layer is made of, before it is made: a value with a key.

A `Part` is one package (or a fixed piece like the virtual environment's skeleton) and everything its bytes depend on;
a `Recipe` is the parts of one layer, nearly always one. Recipes are plain data: they cross process boundaries, and
two equal recipes give the same bytes on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from builder.content import MEDIA_LAYER_GZIP, Descriptor, Digest, canonical_json
from builder.layers.encode import FORMAT

__all__ = ["Layer", "Part", "Recipe"]


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a layer.

    `kind` is ``deb``, ``wheel``, ``conda``, ``jar``, ``system`` or ``venv``; `artifact` the bytes it is made from;
    `params` what else its bytes depend on (JSON values only); `file` the artifact's file name, for
    messages and for wheels' names.
    """

    kind: str
    name: str
    version: str = ""
    artifact: Digest | None = None
    file: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything that the part's bytes depend on, and nothing else."""
        return {
            "kind": self.kind,
            "artifact": self.artifact,
            "file": self.file,
            "params": dict(self.params),
            "name": self.name,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parts of one layer, sorted by kind and name."""

    parts: tuple[Part, ...]

    @property
    def key(self) -> str:
        """64 hex digits: what went in, and the format version."""
        document = {"format": FORMAT, "parts": [part.to_json() for part in self.parts]}
        return hashlib.sha256(canonical_json(document)).hexdigest()

    @property
    def title(self) -> str:
        """For people: ``numpy 2.1.3``, or ``small packages (31)``."""
        if len(self.parts) == 1:
            return f"{self.parts[0].name} {self.parts[0].version}".strip()
        return f"{self.parts[0].kind}s: " + ", ".join(part.name for part in self.parts)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as images name it: the blob, and the digest of its tar.

    `kind` is one of ``deb``, ``system``, ``venv``, ``wheel``, ``conda``, ``jar``, ``model``, ``code``; `holds` what is
    in it, as (name, version) pairs, for people and comparisons.
    """

    kind: str
    digest: Digest
    size: int
    diff_id: Digest
    holds: tuple[tuple[str, str], ...] = ()
    media_type: str = MEDIA_LAYER_GZIP

    @property
    def descriptor(self) -> Descriptor:
        """The blob's descriptor."""
        return Descriptor(self.media_type, self.digest, self.size)

    @property
    def title(self) -> str:
        """For people."""
        if len(self.holds) == 1:
            return " ".join(self.holds[0]).strip()
        return f"{self.kind}s: " + ", ".join(name for name, _ in self.holds)
