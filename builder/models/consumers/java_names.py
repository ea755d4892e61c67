"""What a Java package is called: coordinates, classes, properties and constants."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from builder.errors import UsageError
from builder.models.consumers.identifiers import Identifier, Style, identifier, identifiers
from builder.models.contract import Contract

__all__ = ["GROUP", "Coordinates", "base_name", "coordinates", "label_names", "property_names", "stem_name"]

GROUP: Final = "com.example.models"

# JLS 3.9: keywords, literals, and the words that are keywords in some places
_WORDS: Final = """
    abstract assert boolean break byte case catch char class const continue default do double else enum extends final
    finally float for goto if implements import instanceof int interface long native new package private protected
    public return short static strictfp super switch synchronized this throw throws transient try void volatile while
    true false null _ exports module non-sealed open opens permits provides record requires sealed to transitive uses
    var when with yield
"""
_KEYWORDS: Final = frozenset(_WORDS.split())
_OBJECT: Final = frozenset(
    ("clone", "equals", "finalize", "getClass", "hashCode", "notify", "notifyAll", "toString", "wait")
)
_PROPERTIES: Final = Style("camel", _KEYWORDS | _OBJECT | {"builder", "build", "values"})
_CLASSES: Final = Style("pascal")
_LABELS: Final = Style("upper", prefix="label")
_PACKAGE: Final = Style("snake", _KEYWORDS)

_GROUP: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
_ARTIFACT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where Maven puts the package, and the Java package of its classes."""

    group: str
    artifact: str
    version: str
    package: str

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def coordinates(
    contract: Contract,
    *,
    group: str | None = None,
    artifact: str | None = None,
    version: str | None = None,
    package: str | None = None,
) -> Coordinates:
    """The coordinates, with defaults from the contract: ``com.example.models:churn-model:1.4.0``.

    Raises UsageError for what Maven or Java can't take.
    """
    stem = stem_name(contract)
    group = _fitting("group id", group or GROUP, _GROUP, "--group", GROUP)
    artifact = _fitting("artifact id", artifact or _artifact(stem), _ARTIFACT, "--artifact", "churn-model")
    version = _fitting("version", version or contract.version, _VERSION, "--version", "1.4.0")
    package = package or ".".join((*(part.replace("-", "_") for part in group.split(".")), stem))
    words = package.split(".")
    if any(not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", one) and not one.isidentifier() for one in words):
        raise UsageError(f"not a Java package: {package!r}", hint="name one: --package com.example.models.churn")
    if wrong := next((one for one in words if one in _KEYWORDS), None):
        raise UsageError(
            f"not a Java package: {package!r}: {wrong} is a word of Java",
            hint="name another: --package com.example.models.churn",
        )
    return Coordinates(group, artifact, version, package)


def _artifact(stem: str) -> str:
    """ASCII, as Maven's repositories want it."""
    plain = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    return plain if plain == "model" or plain.endswith("-model") else f"{plain}-model".lstrip("-")


def _fitting(what: str, value: str, pattern: re.Pattern[str], option: str, example: str) -> str:
    if not pattern.fullmatch(value) or len(value) > 200:
        raise UsageError(f"not a Maven {what}: {value[:60]!r}", hint=f"name one: {option} {example}")
    return value


def base_name(contract: Contract) -> str:
    """What the classes begin with: ``Churn``, for a model called churn or churn-model."""
    name = identifier(contract.name, _CLASSES)
    if name == "Model":
        return "Trained"
    return name.removesuffix("Model")


def stem_name(contract: Contract) -> str:
    """What the resources begin with, and the last part of the package: ``churn``."""
    return identifier(contract.name, _PACKAGE)


def property_names(names: Iterable[str]) -> tuple[Identifier, ...]:
    """The properties for features."""
    return identifiers(names, _PROPERTIES)


def label_names(classes: Iterable[int | str]) -> tuple[Identifier, ...]:
    """The constants for a classifier's classes."""
    return identifiers((str(one) for one in classes), _LABELS)
