"""How cost grows with the number of packages: the dependencies of real tools, taken from the leaves up.

What is locked once is cut into ever longer lists of pins, each closed: a package comes after what it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.contexts import Context
from bench.measure import run
from bench.project import Project
from bench.rows import Row
from bench.sides import LOCKSHIP, UV, Side
from bench.stage import Stage, say

__all__ = ["growth_rows", "leaves_first", "needs"]

_SIZES = (5, 10, 20, 40, 80, 130)
_PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


def growth_rows(stage: Stage) -> list[Row]:
    """Lockship and docker + uv, from cached downloads, per number of packages."""
    engine = stage.docker()
    pins, order = _resolve(stage)
    samples: dict[str, list[float]] = {}
    sizes = []
    for count in (size for size in _SIZES if size <= len(order)):
        say(f"growth: {count} packages")
        chosen = [f"{name}=={pins[name]}" for name in sorted(order[:count])]
        projects = {side: _project(stage, side, count, chosen) for side in LOCKSHIP}
        wheels = projects[LOCKSHIP[0]].locked().wheels
        sizes.append({"packages": len(wheels), "megabytes": sum(one.size for one in wheels) / 1e6})
        lock = projects[LOCKSHIP[0]].requirements("new")
        actions = {}
        for side, project in projects.items():
            actions[f"{side.name} {count}"] = _ours(project)
        for side in UV:
            folder = stage.folder / "docker" / f"growth-{count}-{side.name}"
            context = Context(engine, side, folder, stage.folder, name=f"growth-{count}")
            stage.fill(context, [lock])
            actions[f"{side.name} {count}"] = _theirs(context, lock)
        samples |= stage.interleaved(actions)
    note = (
        f"{len(order)} packages are what {', '.join(_tools())} need; each list holds the first of them, leaves first."
    )
    return [Row("growth", "environment, downloads cached, by packages", "s", samples, note, {"sizes": sizes})]


def _ours(project: Project):  # type: ignore[no-untyped-def]
    def action() -> float:
        project.forget_layers()
        project.forget_store()
        return project.call("build").seconds

    return action


def _theirs(context: Context, lock: bytes):  # type: ignore[no-untyped-def]
    def action() -> float:
        context.engine.prune()
        context.write(lock)
        context.touch()
        return context.build().seconds

    return action


def _project(stage: Stage, side: Side, count: int, pins: Iterable[str]) -> Project:
    name = f"lockship-bench-growth-{count}"
    project = Project(
        stage.folder / f"growth-{count}-{side.name}", stage.cache, stage.environ, name, bytecode=side.bytecode
    )
    project.write(pins)
    project.call("lock")
    project.keep("new")
    return project


def _tools() -> list[str]:
    lines = (Path(__file__).parent / "growth.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _resolve(stage: Stage) -> tuple[Mapping[str, str], list[str]]:
    """Versions by name, and the names in an order in which every prefix is closed."""
    import uv

    argv = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--python-version", "3.11", "--python-platform", "linux"]
    source = Path(__file__).parent / "growth.in"
    text = run([*argv, "--only-binary", ":all:", "--no-header", str(source)], stage.environ, settle=False).stdout
    pins, parents = needs(text)
    return pins, leaves_first(parents)


def needs(text: str) -> tuple[dict[str, str], dict[str, set[str]]]:
    """From a compiled requirements file with its ``# via`` notes: versions, and what each package needs."""
    pins: dict[str, str] = {}
    children: dict[str, set[str]] = {}
    current = ""
    for line in text.splitlines():
        if found := _PIN.match(line):
            current = found[1]
            pins[current] = found[2]
            children.setdefault(current, set())
        elif line.strip().startswith("#") and current:
            parent = line.strip().removeprefix("#").strip().removeprefix("via").strip()
            if parent and not parent.startswith("-r"):
                children.setdefault(parent, set()).add(current)
    return pins, children


def leaves_first(children: Mapping[str, Iterable[str]]) -> list[str]:
    """Names in an order in which each comes after what it needs; those in a circle come together."""
    order: list[str] = []
    placed: set[str] = set()

    def place(name: str) -> None:
        if name in placed:
            return
        placed.add(name)
        for child in sorted(children.get(name, ())):
            place(child)
        order.append(name)

    for name in sorted(children, key=lambda one: (len(_reach(one, children)), one)):
        place(name)
    return order


def _reach(name: str, children: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found
