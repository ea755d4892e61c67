"""Secrets by reference, read when they are needed; and keeping them out of whatever is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from builder.errors import UsageError

__all__ = ["Mask", "resolve"]

_LARGEST: Final = 1 << 17  # bytes; what one variable of a process may hold (Linux: MAX_ARG_STRLEN)
_SHORTEST_LINE: Final = 6  # characters of a line of a secret that is worth hiding on its own


def resolve(references: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The values behind ``env:NAME`` and ``file:PATH``, by the name of the variable that gets them.

    A file's last line feed is not part of its secret. Raises UsageError for the first that is missing, empty or
    can't be a variable; it names the reference and never a value.
    """
    return {name: _value(name, reference, environ) for name, reference in references.items()}


def _value(name: str, reference: str, environ: Mapping[str, str]) -> str:
    kind, _, where = reference.partition(":")
    if kind == "env":
        value = environ.get(where)
        hint = f"set the environment variable {where}; in CI, map a secret of the pipeline to it"
    elif kind == "file":
        value = _content(name, reference, Path(where))
        hint = f"write the secret into {where}"
    else:
        raise UsageError(
            f"the secret {name} is of a kind that can't be read here: {reference}",
            hint='use "env:NAME" or "file:/PATH"',
        )
    if not value:
        state = "not set" if value is None else "empty"
        raise UsageError(f"the secret {name} is missing: {reference} is {state}", hint=hint)
    if "\0" in value:
        raise UsageError(f"the secret {name} can't be a variable: what {reference} holds has a zero byte in it")
    return value


def _content(name: str, reference: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise UsageError(f"the secret {name} is too long for a variable: {reference}")
        return data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UsageError(f"the secret {name} is missing: {reference} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:  # not as the cause: it holds the bytes
        pass
    raise UsageError(f"the secret {name} can't be a variable: {reference} is not UTF-8")


class Mask:
    """Replaces secrets by ``****``, also the way URLs and JSON write them, and the single lines of long ones."""

    def __init__(self, values: Iterable[str]) -> None:
        forms: set[str] = set()
        for value in values:
            lines = [line for line in value.splitlines() if len(line) >= _SHORTEST_LINE]
            for text in (value, *lines):
                forms |= {text, quote(text), quote(text, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]}
        # the longest first: one secret may begin with another
        self._forms = sorted(forms - {""}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Mask({len(self._forms)} forms)"

    def __call__(self, text: str) -> str:
        """`text` without the secrets."""
        for form in self._forms:
            text = text.replace(form, "****")
        return text
