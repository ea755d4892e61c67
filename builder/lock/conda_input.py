"""The environment files of conda: channels and what they ask for, checked before any solver sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from builder.errors import LockError, ProjectError
from builder.network import Network, redacted
from builder.project import Project

__all__ = [
    "ALIAS",
    "Environment",
    "channel_name",
    "channel_url",
    "names_login",
    "read_environments",
    "written",
    "yaml",
]

ALIAS: Final = "https://conda.anaconda.org"  # where a channel is that has a name and no address
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/label/[A-Za-z0-9_.-]+)?")
_TOKEN: Final = re.compile(r"/t/[^/]+/")
_SPEC: Final = re.compile(r"(?:(?P<channel>[^\s\[\]=<>!~]+)::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)")


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment file: its path in the project, its text, channels as written, names asked for, pip's lines."""

    file: str
    text: str
    channels: tuple[str, ...]
    names: tuple[str, ...]
    pip: tuple[str, ...]


def yaml() -> Any:
    """PyYAML, which the extra brings."""
    try:
        return import_module("yaml")
    except ImportError as error:
        raise LockError("conda environments need conda-lock", hint="pip install 'lockship[conda]'") from error


def read_environments(project: Project, network: Network) -> tuple[Environment, ...]:
    """The project's environment files; raises ProjectError, with the line, for what can't be locked."""
    found = tuple(_read(project, name) for name in project.python.conda)
    for one in found:
        for channel in one.channels:
            _check_channel(channel, one, network)
    if len({one.channels for one in found}) > 1:
        raise ProjectError(
            "the environment files name different channels, or in another order",
            hint="one environment comes from one list of channels: give all files the same",
            file=found[1].file,
        )
    return found


def channel_url(channel: str) -> str:
    """Where `channel` is: a name at anaconda.org, an address as it is."""
    return channel.rstrip("/") if "://" in channel else f"{ALIAS}/{channel}"


def channel_name(url: str) -> str:
    """What a channel is called, whoever serves it: a mirror's ``https://host/any/path/conda-forge`` is conda-forge."""
    words = [word for word in urlsplit(url).path.split("/") if word]
    if len(words) >= 3 and words[-2] == "label":
        return "/".join(words[-3:])
    return words[-1] if words else "root"


def names_login(url: str) -> bool:
    """Whether a channel's address holds a password or a token."""
    return "@" in urlsplit(url).netloc or _TOKEN.search(urlsplit(url).path + "/") is not None


def _read(project: Project, name: str) -> Environment:
    file = project.path(name)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ProjectError(
            f"cannot be read: {error.strerror}", file=name, hint="it is named under [python] conda"
        ) from error
    except UnicodeDecodeError as error:
        raise ProjectError("is not UTF-8", file=name) from error
    document = _document(text, name)
    specs = document.get("dependencies")
    if not isinstance(specs, list) or not specs:
        raise ProjectError("lists no dependencies", file=name, hint="add: dependencies: [python=3.11, …]")
    channels = document.get("channels") or []
    if not isinstance(channels, list) or not all(isinstance(one, str) for one in channels):
        raise ProjectError("channels should be a list of names", file=name, line=_line(text, "channels"))
    channels = [one for one in channels if one != "nodefaults"]
    if not channels:
        raise ProjectError(
            "names no channel", hint="say where packages come from: channels: [conda-forge]", file=name,
            line=_line(text, "channels"),
        )  # fmt: skip
    names: list[str] = []
    pip: list[str] = []
    for spec in specs:
        if isinstance(spec, str):
            names.append(_asked(spec, name, text))
        else:
            pip += _pip_lines(spec, name, text)
    return Environment(name, text, tuple(channels), tuple(names), tuple(pip))


def _document(text: str, name: str) -> Mapping[str, Any]:
    reader = yaml()
    try:
        document = reader.safe_load(text)
    except (reader.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        reason = getattr(error, "problem", None) or error
        raise ProjectError(f"not valid YAML: {reason}", file=name, line=line) from error
    if not isinstance(document, dict):
        raise ProjectError("is not an environment file", file=name, hint="it has channels and dependencies")
    return document


def _asked(spec: str, name: str, text: str) -> str:
    match = _SPEC.match(spec.strip())
    if match is None:
        raise ProjectError(f"{spec!r} names no package", file=name, line=_line(text, spec))
    if match["channel"] and ("://" in match["channel"] or "/" in match["channel"].replace("/label/", "")):
        raise ProjectError(
            "a package's own channel is a name from the list of channels", hint="write: conda-forge::numpy", file=name,
            line=_line(text, match["name"]),
        )  # fmt: skip
    return match["name"].lower()


def _pip_lines(spec: object, name: str, text: str) -> Iterator[str]:
    if not isinstance(spec, dict) or set(spec) != {"pip"} or not isinstance(spec["pip"], list | None):
        raise ProjectError(
            f"{spec!r} is no dependency", hint="a dependency is a line like numpy=2.1, or a pip section", file=name,
            line=_line(text, "dependencies"),
        )  # fmt: skip
    for line in spec["pip"] or ():
        if not isinstance(line, str) or not re.match(r"[A-Za-z0-9]", line) or "://" in line or " @ " in line:
            raise ProjectError(
                "the pip section holds what is no package of an index",
                hint="name packages with versions; indexes are those that pip is configured with", file=name,
                line=_line(text, str(line)),
            )  # fmt: skip
        yield line


def _check_channel(channel: str, environment: Environment, network: Network) -> None:
    file, line = environment.file, _line(environment.text, channel)
    if "://" not in channel:
        if channel in ("defaults", "main", "free", "pkgs/main", "pkgs/r"):
            raise ProjectError(
                f"the channel {channel!r} stands for addresses that differ from machine to machine",
                hint="name conda-forge, or write https://repo.anaconda.com/pkgs/main if you may use it", file=file,
                line=line,
            )  # fmt: skip
        if not _NAME.fullmatch(channel):
            raise ProjectError(f"{channel!r} is not a channel's name or address", file=file, line=line)
        return
    if names_login(channel):
        raise ProjectError(
            f"the address of the channel {channel_name(channel)} holds credentials, which would get into the lock",
            hint="write it without them; user and password belong into ~/.netrc: machine HOST login USER password …",
            file=file,
            line=line,
        )
    parts = urlsplit(channel)
    if parts.scheme not in ("http", "https") or not parts.hostname or "$" in channel or parts.query or parts.fragment:
        raise ProjectError(
            f"{redacted(channel)} is not a channel's address", hint="a channel is a name, or https://host/path",
            file=file, line=line,
        )  # fmt: skip
    network.check(channel)


def _line(text: str, word: str) -> int | None:
    numbers: Sequence[int] = [number for number, line in enumerate(text.splitlines(), 1) if word in line]
    return numbers[0] if numbers else None


def written(folder: Path, environment: Environment, extra: str) -> Path:
    """The environment file below `folder` under its own path, with `extra` lines at its end."""
    path = folder / environment.file
    path.parent.mkdir(parents=True, exist_ok=True)
    end = "" if environment.text.endswith("\n") else "\n"
    path.write_text(f"{environment.text}{end}{extra}", encoding="utf-8")
    return path
