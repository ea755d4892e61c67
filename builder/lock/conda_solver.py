"""A program that answers as conda does where conda-lock asks it to solve, with rattler's solver.

``create --prefix P --dry-run --json --override-channels --channel C… SPEC…``, for the platform in ``CONDA_SUBDIR``; a
channel that holds nothing but virtual packages says what the target has. The environment tells the rest: `PREFER` names
a file with the packages to stay with, by platform; `REPORT` one for what went wrong; `CACHE` a folder for what channels
list. Runs in a process of its own, which ends by `os._exit`: rattler's threads outlive the interpreter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

__all__ = ["CACHE", "PREFER", "REPORT", "main"]

PREFER: Final = "LOCKSHIP_CONDA_PREFER"
REPORT: Final = "LOCKSHIP_CONDA_REPORT"
CACHE: Final = "LOCKSHIP_CONDA_CACHE"


def main(words: Sequence[str]) -> NoReturn:
    """Answer the command line `words`."""
    if list(words) == ["--version"]:
        _end("conda 24.7.1\n", 0)
    parser = argparse.ArgumentParser(prog="conda")
    parser.add_argument("command")
    parser.add_argument("-p", "--prefix")
    parser.add_argument("-c", "--channel", action="append", default=[])
    for flag in ("--dry-run", "--json", "--override-channels"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("specs", nargs="*")
    asked = parser.parse_intermixed_args(list(words))
    if asked.command in ("info", "config"):
        _answer({"pkgs_dirs": [os.environ.get("CONDA_PKGS_DIRS", "")]}, 0)
    if asked.command != "create" or not asked.dry_run:
        _answer({"success": False, "message": f"unsupported: {asked.command}"}, 2)
    try:
        records = asyncio.run(_solve(asked.channel, asked.specs))
    except Exception as error:
        _report(type(error).__name__, str(error))
        _answer({"success": False, "message": str(error), "exception_name": type(error).__name__}, 1)
    fetch = sorted((_action(record) for record in records), key=lambda action: str(action["name"]))
    actions = {"FETCH": fetch, "LINK": [_link(action) for action in fetch], "PREFIX": asked.prefix}
    _answer({"success": True, "dry_run": True, "prefix": asked.prefix, "actions": actions}, 0)


async def _solve(channels: Sequence[str], specs: Sequence[str]) -> list[Any]:
    import rattler

    subdir: Any = os.environ["CONDA_SUBDIR"]
    platforms = [subdir, "noarch"]
    sources, virtual = [], []
    for channel in channels:
        found = _virtual_packages(channel, subdir)
        if found is None:
            sources.append(rattler.Channel(channel))
        else:
            virtual += found
    gateway = rattler.Gateway(
        cache_dir=Path(os.environ[CACHE]),
        default_config=rattler.SourceConfig(),
        client=rattler.Client.default_client(),
    )
    wanted = [rattler.MatchSpec(spec, strict=False) for spec in specs]
    kept = json.loads(Path(os.environ[PREFER]).read_text(encoding="utf-8")).get(subdir, [])
    locked = []
    if kept:
        offered = await gateway.query(sources, platforms, specs=wanted, recursive=True)
        locked = [record for records in offered for record in records if record.file_name in kept]
    return await rattler.solve(
        sources=sources,
        specs=wanted,
        platforms=platforms,
        gateway=gateway,
        locked_packages=locked,
        virtual_packages=[
            rattler.GenericVirtualPackage(
                rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build)
            )
            for name, version, build in virtual
        ],
        channel_priority=rattler.ChannelPriority.Strict,
    )


def _virtual_packages(channel: str, subdir: str) -> list[tuple[str, str, str]] | None:
    """What conda-lock's own channel says of the target: (name, version, build); None for a channel of packages."""
    if not channel.startswith("file://"):
        return None
    folder = Path(unquote(urlsplit(channel).path))
    found = []
    for part in (subdir, "noarch"):
        path = folder / part / "repodata.json"
        if path.exists():
            packages = json.loads(path.read_text(encoding="utf-8")).get("packages", {}).values()
            found += [(one["name"], one["version"], one["build"]) for one in packages]
    return found


def _action(record: Any) -> dict[str, Any]:
    action: dict[str, Any] = json.loads(record.to_json())
    action.setdefault("depends", [])
    action.setdefault("constrains", [])
    action["channel"] = f"{str(action['channel']).rstrip('/')}/{action['subdir']}"
    return action


def _link(action: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": action["name"],
        "version": action["version"],
        "build_string": action["build"],
        "build_number": action["build_number"],
        "channel": action["channel"],
        "base_url": action["channel"].rpartition("/")[0],
        "platform": action["subdir"],
        "dist_name": f"{action['name']}-{action['version']}-{action['build']}",
    }


def _report(kind: str, message: str) -> None:
    facts = {"platform": os.environ.get("CONDA_SUBDIR", ""), "kind": kind, "message": message}
    Path(os.environ[REPORT]).write_text(json.dumps(facts), encoding="utf-8")


def _answer(document: object, code: int) -> NoReturn:
    _end(json.dumps(document, indent=1, sort_keys=True) + "\n", code)


def _end(text: str, code: int) -> NoReturn:
    sys.stdout.write(text)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
