"""A bill of materials in CycloneDX 1.6 (ECMA-424): exact, because it comes from what is locked, not from a scan.

The same values give the same bytes: the serial number is derived from them, and the time is the image's own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from builder.content import Digest, canonical_json
from builder.errors import LockshipError, VerificationError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component as Entry
    from packageurl import PackageURL

__all__ = ["MEDIA_SBOM", "Component", "Described", "Listed", "bill", "package_url", "read_bill"]

MEDIA_SBOM: Final = "application/vnd.cyclonedx+json"

Kind = Literal["python", "deb", "conda", "maven", "base", "system", "model", "file"]

# What CycloneDX calls them, and which kind of package URL they have (none: there is no registry to find them in).
_TYPES: Final[Mapping[Kind, tuple[str, str]]] = {
    "python": ("library", "pypi"),
    "deb": ("library", "deb"),
    "conda": ("library", "conda"),
    "maven": ("library", "maven"),
    "base": ("container", "oci"),
    "system": ("operating-system", ""),
    "model": ("machine-learning-model", ""),
    "file": ("file", ""),
}
_SPACE: Final = "https://lockship.dev/sbom/"
_KIND: Final = "lockship:kind"
_LAYER: Final = "lockship:layer"


@dataclass(frozen=True, slots=True)
class Component:
    """One thing in an image.

    `kind`: ``python``, ``deb``, ``conda`` and ``maven`` (``group:artifact``) are packages, ``base`` an image that
    others are built upon, ``system`` the operating system (``debian`` in `version` ``12``), ``model`` a model, ``file``
    files of the project.
    `sha256` (64 hex digits) and `size` (bytes) are those of `file`, the archive that it came in or the file itself.
    `qualifiers` are those of its package URL, `layer` is the digest of the layer that it is in; `licence` is an SPDX
    expression or a name. What is not known is empty.
    """

    kind: Kind
    name: str
    version: str = ""
    sha256: str = ""
    size: int | None = None
    file: str = ""
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    layer: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """The image that a bill is about: `digest` is its manifest's, `created` RFC 3339 in UTC."""

    name: str
    version: str
    platform: str
    digest: Digest
    created: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a bill says of a component: enough to hold it against an image."""

    kind: str
    name: str
    version: str
    sha256: str
    layer: str


def package_url(component: Component) -> str:
    """The component's package URL (purl-spec, and its ``types``); empty where there is none."""
    made = _purl(component)
    return "" if made is None else made.to_string()


def _purl(component: Component) -> PackageURL | None:
    from packageurl import PackageURL

    type_ = _TYPES[component.kind][1]
    if not type_:
        return None
    name, namespace = component.name, None
    if type_ == "deb":
        namespace = "debian"
    elif type_ == "maven":  # what follows the artifact is its classifier, which stands among the qualifiers
        namespace, name, *_ = name.split(":")
    elif type_ == "oci":  # the last part of its name; where it is stands in repository_url
        name = component.name.rpartition("/")[2].lower()
    return PackageURL(type_, namespace, name, component.version or None, dict(component.qualifiers))


def bill(about: Described, components: Sequence[Component]) -> bytes:
    """The bill of the image `about`: JSON, the same bytes each time; raises LockshipError when two have one name."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component as Entry
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    image = Entry(
        name=about.name, version=about.version, type=ComponentType.CONTAINER, bom_ref=f"image:{about.digest}",
        properties=_properties({"lockship:platform": about.platform}),
    )  # fmt: skip
    image.hashes.update(_hashes(about.digest.hex))
    entries = [_entry(component) for component in components]
    if len({entry.bom_ref.value for entry in entries}) != len(entries):
        raise LockshipError("a bill of materials names something twice")
    tools = ToolRepository(components=[Entry(name="lockship", type=ComponentType.APPLICATION)])
    made = Bom(
        components=entries,
        serial_number=_serial(about, components),
        metadata=BomMetaData(component=image, tools=tools, timestamp=datetime.fromisoformat(about.created)),
    )
    made.register_dependency(image, entries)
    return JsonV1Dot6(made).output_as_string(indent=1).encode()


def _entry(component: Component) -> Entry:
    from cyclonedx.model.component import Component as Entry
    from cyclonedx.model.component import ComponentType

    purl = _purl(component)
    return Entry(
        name=component.name,
        version=component.version or None,
        type=ComponentType(_TYPES[component.kind][0]),
        purl=purl,
        bom_ref=purl.to_string() if purl else f"{component.kind}:{component.name}@{component.version}",
        hashes=_hashes(component.sha256),
        licenses=_licences(component.licence),
        properties=_properties(
            {
                _KIND: component.kind,
                _LAYER: component.layer,
                "lockship:file": component.file,
                "lockship:size": "" if component.size is None else str(component.size),
            }
        ),
    )


def _hashes(sha256: str) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []


def _licences(text: str) -> list[Any]:
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from cyclonedx.spdx import is_expression, is_supported_id

    if not text:
        return []
    if is_supported_id(text):
        return [DisjunctiveLicense(id=text)]
    return [LicenseExpression(text) if is_expression(text) else DisjunctiveLicense(name=text)]


def _properties(values: Mapping[str, str]) -> Iterable[Any]:
    from cyclonedx.model import Property

    return [Property(name=name, value=value) for name, value in values.items() if value]


def _serial(about: Described, components: Sequence[Component]) -> uuid.UUID:
    """A bill of other content has another number (RFC 9562, version 5)."""
    content = canonical_json([asdict(about), sorted((asdict(one) for one in components), key=canonical_json)])
    return uuid.uuid5(uuid.NAMESPACE_URL, _SPACE + Digest.of(content).hex)


def read_bill(data: bytes) -> tuple[Digest | None, tuple[Listed, ...]]:
    """The manifest that a bill is about, and what it lists; raises VerificationError for what is no bill of ours."""
    try:
        document = json.loads(data)
        if document["bomFormat"] != "CycloneDX":
            raise KeyError("bomFormat")
        about = _sha256(document["metadata"]["component"])
        listed = tuple(_listed(one) for one in document.get("components", ()))
        return (Digest.from_hex(about) if about else None), listed
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError(
            "the bill of materials is damaged: it is no CycloneDX document of an image",
            hint="attach it anew: `lockship release` does",
        ) from error


def _listed(entry: Mapping[str, Any]) -> Listed:
    notes = {str(one["name"]): str(one.get("value", "")) for one in entry.get("properties", ())}
    return Listed(
        kind=notes.get(_KIND, ""),
        name=str(entry["name"]),
        version=str(entry.get("version", "")),
        sha256=_sha256(entry),
        layer=notes.get(_LAYER, ""),
    )


def _sha256(entry: Mapping[str, Any]) -> str:
    return next((str(one["content"]) for one in entry.get("hashes", ()) if one["alg"] == "SHA-256"), "")
