"""Values and other people's words as C#, XML, MSBuild and Markdown write them: nothing breaks out of its place."""

from __future__ import annotations

import math
import re
import struct
from typing import Final

from builder.models.contract import Scalar, TensorType, from_scalar

__all__ = ["KEYWORDS", "TYPES", "code", "comment", "literal", "markdown", "msbuild", "plain", "string", "xml"]

# C# 8 language specification, "Keywords"; words that mean something only in places may be names.
_WORDS: Final = """
    abstract as base bool break byte case catch char checked class const continue decimal default delegate do double
    else enum event explicit extern false finally fixed float for foreach goto if implicit in int interface internal is
    lock long namespace new null object operator out override params private protected public readonly ref return sbyte
    sealed short sizeof stackalloc static string struct switch this throw true try typeof uint ulong unchecked unsafe
    ushort using virtual void volatile while
"""
KEYWORDS: Final = frozenset(_WORDS.split())

TYPES: Final[dict[TensorType, str]] = {
    "float32": "float",
    "float64": "double",
    "int64": "long",
    "string": "string",
    "bool": "bool",
}
"""The type of a cell."""

_SUFFIX: Final = {"float": "f", "double": "d"}
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}


def plain(text: str) -> str:
    """`text` on one line, of characters that can be seen: no control characters, no marks that turn the text around."""
    return "".join(one if one.isprintable() else " " if one.isspace() else "\N{REPLACEMENT CHARACTER}" for one in text)


def string(text: str) -> str:
    """`text` as a string of C#: ASCII, whatever is in it."""
    return '"' + "".join(_escaped(one) for one in text) + '"'


def _escaped(one: str) -> str:
    if one in _ESCAPES:
        return _ESCAPES[one]
    if " " <= one <= "~":
        return one
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{unit:04x}" for (unit,) in struct.iter_unpack(">H", units))


def literal(cell: Scalar, kind: TensorType) -> str:
    """A cell of a tensor of type `kind`: C# reads the very same value from it."""
    value = from_scalar(cell, kind)
    if kind == "string":
        return string(str(value))
    if kind == "bool":
        return "true" if value else "false"
    if kind == "int64":
        return f"{value}L"
    return _number(float(value), TYPES[kind])


def _number(value: float, kind: str) -> str:
    if math.isnan(value):
        return f"{kind}.NaN"
    if kind == "float":
        value = _single(value)
    if math.isinf(value):
        return f"{kind}.{'Positive' if value > 0 else 'Negative'}Infinity"
    if kind == "double":
        return f"{value!r}d"
    # nine digits tell any two apart (IEEE 754-2008, 5.12.2)
    shortest = next(text for digits in range(1, 10) if _single(float(text := f"{value:.{digits}g}")) == value)
    return shortest + _SUFFIX[kind]


def _single(value: float) -> float:
    """The nearest float32."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def xml(text: str) -> str:
    """`text` inside an element or a quoted attribute (XML 1.0, 2.4), on one line: in ``///`` comments too."""
    escaped = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return "".join(one if one not in "\ufffe\uffff" else "\N{REPLACEMENT CHARACTER}" for one in escaped)


def comment(text: str) -> str:
    """`text` in a comment of XML, which may hold no two hyphens in a row (XML 1.0, 2.5)."""
    return xml(text).replace("-", "\N{NON-BREAKING HYPHEN}")


def msbuild(text: str) -> str:
    """`text` as the value of a property: not expanded, not split ("MSBuild special characters")."""
    return xml(re.sub(r"[%$@';?*()]", lambda found: f"%{ord(found[0]):02x}", text))


def markdown(text: str) -> str:
    """`text` in a paragraph or a cell of a table, as it is (CommonMark 0.31, 2.4)."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&-])", r"\\\1", plain(text))


def code(text: str) -> str:
    """`text` as code in a paragraph or a cell of a table."""
    clean = plain(text).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", clean)), default=0) + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") else ""
    return f"{fence}{pad}{clean}{pad}{fence}"
