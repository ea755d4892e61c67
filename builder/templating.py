"""The text templates in `templates/`, which the wheel carries as `builder/_templates`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["groovy", "render", "toml", "yaml"]

_HERE = Path(__file__).parent
_TOML_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def toml(value: object) -> str:
    """`value` as TOML writes it on one line: strings, integers, booleans, sequences, and mappings as inline tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(str(key))} = {toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _escaped(character: str) -> str:
    if (known := _TOML_ESCAPES.get(character)) is not None:
        return known
    return f"\\u{ord(character):04x}" if ord(character) < 0x20 or character == "\x7f" else character


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)


def yaml(value: str) -> str:
    """`value` as a double-quoted scalar (YAML 1.2, 7.3.1): a string, whatever is in it."""
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else _yaml_escape(ord(one)) for one in quoted)


def _yaml_escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def groovy(value: str) -> str:
    """`value`, which is printable, as a single-quoted string of Groovy: nothing in it is interpolated."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def render(name: str, values: Mapping[str, Any]) -> str:
    """The template `name` with `values`; a name that the template uses and nobody gave is an error of ours."""
    import jinja2

    folder = _HERE / "_templates"
    if not folder.is_dir():  # a source tree: the folder lies beside the package
        folder = _HERE.parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(toml=toml, yaml=yaml, groovy=groovy)
    return environment.get_template(name).render(values)
