"""A source-only NuGet package, written without an SDK: what NuGet reads, in bytes that depend on nothing else.

An Open Packaging Conventions package (ECMA-376 part 2) with a nuspec ("nuspec reference", nuspec.xsd 2013/05). Its
C# files are compiled into whatever project refers to it, and the model becomes a resource of that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.models.consumers.zipped import zipped
from builder.templating import render

__all__ = ["Package", "content_path", "nupkg"]

_RELATIONSHIPS: Final = "application/vnd.openxmlformats-package.relationships+xml"
_CORE: Final = "application/vnd.openxmlformats-package.core-properties+xml"
_OTHER: Final = "application/octet"  # what NuGet itself calls everything else


@dataclass(frozen=True, slots=True)
class Package:
    """A NuGet package: `id` and normalised `version`, the release of onnxruntime that it depends on, its authors."""

    id: str
    version: str
    runtime: str
    authors: str

    @property
    def file(self) -> str:
        """What feeds call it."""
        return f"{self.id}.{self.version}.nupkg"


def content_path(package: Package, name: str) -> str:
    """Where a C# file lies: compiled for C# and any framework ("Including content files")."""
    return f"contentFiles/cs/any/{package.id}/{name}"


def nupkg(package: Package, content: Mapping[str, bytes], values: Mapping[str, Any]) -> bytes:
    """The package of `content`, by path; `values` are what the templates need. Raises ModelError as `zipped`."""
    sources = sorted(path.removeprefix("contentFiles/") for path in content if path.startswith("contentFiles/"))
    nuspec = f"{package.id}.nuspec"
    properties = render("dotnet/core-properties.xml.j2", values).encode()
    part = f"package/services/metadata/core-properties/{hashlib.sha256(properties).hexdigest()[:32]}.psmdcp"
    files = {
        **content,
        nuspec: render("dotnet/package.nuspec.j2", {**values, "sources": sources}).encode(),
        "_rels/.rels": render("dotnet/rels.xml.j2", {"nuspec": nuspec, "properties": part}).encode(),
        part: properties,
    }
    types = {path.rpartition(".")[2]: _OTHER for path in files} | {"rels": _RELATIONSHIPS, "psmdcp": _CORE}
    files["[Content_Types].xml"] = render("dotnet/content-types.xml.j2", {"types": sorted(types.items())}).encode()
    return zipped(files)
