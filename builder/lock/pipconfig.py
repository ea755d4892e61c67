"""pip's configuration, read as pip reads it: its files, then ``PIP_*`` variables (pip documentation, "Configuration").

Only what says where packages come from and how to get there is looked at. Files of the virtual environment count
when it is active (``VIRTUAL_ENV``).
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from builder.errors import UsageError

__all__ = ["boolean", "pip_settings"]

_SECTIONS: Final = ("global", "install")  # the later wins; pip-compile resolves as `pip install` does


def pip_settings(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Option name (``index-url``) to its value, by pip's precedence; empty values say nothing.

    Raises UsageError for a configuration file that pip would not read either.
    """
    merged: dict[tuple[str, str], str] = {}
    for file in _files(environ, home):
        merged.update(_read(file))
    settings: dict[str, str] = {}
    for section in _SECTIONS:
        settings.update({name: value for (where, name), value in merged.items() if where == section and value.strip()})
    for key, value in sorted(environ.items()):
        if key.startswith("PIP_") and value.strip():
            settings[_normal(key[4:])] = value
    return settings


def boolean(value: str) -> bool:
    """The words that pip knows for yes and no; raises UsageError for others."""
    word = value.strip().lower()
    if word in ("y", "yes", "t", "true", "on", "1"):
        return True
    if word in ("n", "no", "f", "false", "off", "0"):
        return False
    raise UsageError(f"pip's configuration: {value!r} is neither yes nor no", hint="see `pip config list`")


def _normal(name: str) -> str:
    name = name.lower().replace("_", "-").removeprefix("--")
    # two spellings of one option
    return {"default-timeout": "timeout", "pypi-url": "index-url"}.get(name, name)


def _files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """The files that may exist, weakest first."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    if named:
        yield Path(named)
    xdg = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    if sys.platform == "darwin":
        yield Path("/Library/Application Support/pip/pip.conf")
    else:
        yield from (Path(folder, "pip", "pip.conf") for folder in reversed(xdg.split(os.pathsep)) if folder)
        yield Path("/etc/pip.conf")
    if not (named and Path(named).exists()):
        yield home / ".pip" / "pip.conf"
        yield _user(environ, home)
    if environ.get("VIRTUAL_ENV"):
        yield Path(environ["VIRTUAL_ENV"], "pip.conf")


def _user(environ: Mapping[str, str], home: Path) -> Path:
    if sys.platform == "darwin" and (mac := home / "Library" / "Application Support" / "pip").is_dir():
        return mac / "pip.conf"
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")


def _read(file: Path) -> dict[tuple[str, str], str]:
    parser = configparser.RawConfigParser()
    try:
        if not parser.read(file, encoding="utf-8"):
            return {}
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        # the text of these errors quotes lines, which may hold credentials
        raise UsageError(
            f"pip's configuration cannot be read ({type(error).__name__})",
            hint="`pip config debug` shows which files there are",
            file=file,
        ) from error
    return {(section, _normal(name)): value for section in parser.sections() for name, value in parser.items(section)}
