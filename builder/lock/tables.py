"""The lock's TOML, value by value: written in one way only, and read strictly.

A lock comes with a checkout, which may be anybody's: names in it become paths and parts of addresses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["ANY", "LINE", "inline", "lines_of", "number", "string", "table", "text", "texts"]

LINE: Final = re.compile(r"[^\x00-\x1f\x7f]*")
ANY: Final = re.compile(r"[^\x00]*")


def text(value: object, pattern: re.Pattern[str] = LINE) -> str:
    """A string that is what stands there; raises ValueError for anything else."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{str(value)[:80]!r} is not what stands there")
    return value


def texts(value: object, pattern: re.Pattern[str] = LINE) -> tuple[str, ...]:
    """A list of such strings."""
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:80]!r} is not a list")
    return tuple(text(one, pattern) for one in value)


def number(value: object, limit: int | None = None) -> int:
    """A whole number, not negative and not above `limit`; raises ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (limit is not None and value > limit):
        raise ValueError(f"{str(value)[:80]!r} is not a size")
    return value


def table(name: str, values: Mapping[str, str]) -> Iterable[str]:
    """The lines of a table of strings, sorted by key."""
    yield ""
    yield f"[{name}]"
    for key in sorted(values):
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
        yield f"{key if bare else string(key)} = {string(values[key])}"


def lines_of(name: str, items: Iterable[str]) -> Iterable[str]:
    """A list with one item, in TOML already, per line."""
    yield f"{name} = ["
    yield from (f"  {item}," for item in items)
    yield "]"


def inline(facts: Mapping[str, Any]) -> str:
    """An inline table of strings, numbers and lists of strings."""
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in facts.items()) + " }"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(string(item) for item in value) + "]"
    return str(value) if isinstance(value, int) else string(value)


def string(value: str) -> str:
    """A TOML basic string; JSON's escapes are all valid there (TOML 1.0, "String"), but DEL needs one."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
