"""Pydantic's complaints about a TOML document in our words, with the line in the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from builder.errors import ProjectError

__all__ = ["explain", "line_of", "unknown_key"]

# pydantic's words for what TOML calls otherwise
_WORDS: Final = {
    "tuple_type": "should be a list",
    "model_type": "should be a table",
    "dict_type": "should be a table",
    "string_type": "should be a string, in quotes",
    "too_short": "needs at least one item",
}

_SECRET: Final = ("url", "database")  # keys whose values may hold a password, well written or not


def explain(
    error: ValidationError,
    model: type[BaseModel],
    text: str,
    file: Path,
    prefix: Sequence[str] = (),
    inherited: Collection[str] = (),
    *,
    hidden: Collection[str] = (),
) -> ProjectError:
    """The most telling of pydantic's complaints about `text`, the content of `file`, as one of ours.

    A misspelt key says more than what is missing for it. `prefix` is the table that holds the document in the file,
    `inherited` names the keys that came from ``[project]`` instead, `hidden` the fields of `model` that are no keys.
    """
    problems = error.errors(include_url=False)
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    # a key that is wrong itself is marked "[key]" behind it; lists have numbers
    keys = [part for part in problem["loc"] if isinstance(part, str) and part != "[key]"]
    if keys[0] == "version":
        keys = keys[:1]  # what follows is pydantic's name for one of the two forms
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden" and keys[0] != "version":
        return unknown_key(model, keys, text, file, prefix, hidden=hidden)
    hint = None
    if keys[0] in inherited:
        prefix, hint = ("project",), f"write {keys[0]} = … under [tool.lockship] to have another for the image"
    line = _line_of(text, (*prefix, *keys))
    if problem["type"] == "missing":
        return ProjectError(f"{name!r} is missing", hint=f"add: {keys[-1]} = …", file=file, line=line)
    message = _WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, ").removeprefix("Input "))
    if keys[0] == "version" and problem["type"] != "value_error":
        message = "should be a string, or { git = true }"
    shown = problem.get("input")
    # what may be user:password@host, or an address with a password or a signature among its parameters
    secret = isinstance(shown, str) and (keys[-1] in _SECRET or re.search(r":.*(@|\?.*=)", shown, re.DOTALL))
    got = f" (got {shown!r})" if isinstance(shown, str | int | float) and not secret else ""
    return ProjectError(f"{name}: {message}{got}", hint=hint, file=file, line=line)


def unknown_key(
    model: type[BaseModel],
    keys: Sequence[str],
    text: str,
    file: Path,
    prefix: Sequence[str] = (),
    *,
    hidden: Collection[str] = (),
) -> ProjectError:
    """The error for a key that `model` does not know, with the nearest one that it does."""
    known = [key for key in _known_keys(model, keys[:-1]) if key not in hidden]
    close = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
    return ProjectError(f"unknown key {'.'.join(keys)!r}", hint=hint, file=file, line=_line_of(text, (*prefix, *keys)))


def _known_keys(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that the table at `path` may hold."""
    for part in path:
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        if field is None:
            continue  # the NAME of [models.NAME]
        found = _section_in(field.annotation)
        if found is None:
            return []
        model = found
    return [f.alias or name for name, f in model.model_fields.items()]


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as ``dict[str, Model]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _section_in(inner)) is not None:
            return found
    return None


def line_of(file: Path | None, word: str, *, key: str = "") -> int | None:
    """The line (1-based) of a file on which `word` stands in quotes, None when there is none.

    With `key` the search begins at the first line that starts with it.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file is not None else []
    except (OSError, ValueError):
        return None
    start = next((number for number, line in enumerate(lines, 1) if line.lstrip().startswith(key)), 1)
    quoted = (number for number, line in enumerate(lines, 1) if f'"{word}"' in line or f"'{word}'" in line)
    return next((number for number in quoted if number >= start), None)


def _line_of(text: str, keys: Sequence[str]) -> int | None:
    """The line (1-based) on which the key with this dotted path stands, or its nearest table.

    tomllib keeps no positions; this reads table headers and ``key =`` at line starts, which is how people write.
    """
    table: tuple[str, ...] = ()
    best: tuple[int, int] | None = None  # (depth that matches, line)
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$", line):
            table = _dotted(header[1])
            here = table
        elif pair := re.match(r"""\s*([A-Za-z0-9_."'-]+)\s*=""", line):
            here = table + _dotted(pair[1])
        else:
            continue
        depth = len(here)
        if tuple(keys[:depth]) == here and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else 1


def _dotted(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
