"""The commands below ``lockship packages``: what many projects use, and one list for all of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from builder.cli.options import HERE, JsonOption, QuietOption, opened

if TYPE_CHECKING:
    from builder.cli.terminal import Terminal
    from builder.pipeline.packages_align import AlignReport
    from builder.pipeline.packages_use import Package, Survey

__all__ = ["packages"]

RootArgument = Annotated[
    Path, typer.Argument(metavar="ROOT", help="The folder that holds the projects.", show_default=False)
]


class _OrShow(TyperGroup):
    """A group of commands that shows when none is named: ``lockship packages FOLDER``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click has it, with the command that is left out."""
        asks = args[:1] in (["--help"], ["-h"])
        return super().parse_args(ctx, args if asks or args[:1] == ["align"] else ["show", *args])


packages = typer.Typer(
    cls=_OrShow,
    help="`lockship packages [ROOT] [--json]` shows which versions of which packages the projects below ROOT use, "
    "how far they drift apart, and what that costs. Offline.",
)


@packages.command("show", hidden=True)
def show_packages(root: RootArgument = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Show which versions of which packages the projects below ROOT use, and what that costs. Offline."""
    import os

    from builder.errors import StaleLockError
    from builder.pipeline.packages import gather
    from builder.pipeline.packages_use import survey, uses_of

    terminal = opened(json, quiet)
    members, left_out = gather(root, os.environ)
    for one in left_out:
        terminal.warn(f"left out: {one.path}: {one.why}" + (f" ({one.hint})" if one.hint else ""))
    if not members:
        raise StaleLockError("no project here has a lock that fits", hint="run `lockship lock` in each")
    found = survey(use for member in members for use in uses_of(member.path, member.lock))
    document = {
        "projects": [member.path for member in members],
        "left_out": [asdict(one) for one in left_out],
        **asdict(found),
        "with_one": found.with_one,
    }
    terminal.result("packages", document, _text(found, len(members)))


@packages.command("align")
def align(
    root: RootArgument = HERE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The list. [default: packages.txt in ROOT]"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether all projects follow the list that is there. Offline.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out what projects contradict each other about.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a list that was written or changed by hand.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the newest versions that satisfy all projects below ROOT, as constraints that they can name."""
    import os

    from builder.errors import UsageError

    terminal = opened(json, quiet)
    if check:
        from builder.pipeline.packages_check import check_packages

        if partial or force:
            raise UsageError("--check writes nothing: neither --partial nor --force fits it", hint="give one of them")
        good = check_packages(root, output, os.environ)
        text = f"{_projects(len(good.projects))} {_follow(len(good.projects))} {good.file.name}"
        terminal.result("packages-check", {"file": str(good.file), "projects": good.projects}, text)
        return
    from builder.cli.setup import context
    from builder.pipeline.packages_align import align_packages

    report = align_packages(root, output, context(terminal), partial=partial, force=force)
    _tell(terminal, report)


def _tell(terminal: Terminal, report: AlignReport) -> None:
    for name, why in report.made.left_out:
        terminal.warn(f"left out: {name}: {why}")
    document = {
        "file": str(report.file),
        "written": report.written,
        "entries": [asdict(one) for one in report.made.entries],
        "left_out": [{"name": name, "why": why} for name, why in report.made.left_out],
        "projects": report.made.projects,
        "following": report.following,
        "proposals": [{**asdict(one), "file": str(one.file)} for one in report.proposals],
        "skipped": report.skipped,
    }
    terminal.result("packages-align", document, _aligned(report))


def _aligned(report: AlignReport) -> str:
    from builder.cli.terminal import relative
    from builder.words import plural

    count = plural(len({one.name for one in report.made.entries}), "package")
    state = "written" if report.written else "the same as before"
    lines = [f"{relative(report.file)}: {count} of {_projects(len(report.made.projects))}, {state}"]
    if report.skipped:
        lines.append(f"without requirements, so not in it: {', '.join(report.skipped)}")
    if report.following:
        lines.append(f"named as constraints by {', '.join(report.following)}")
    asked: dict[tuple[str, str], list[str]] = {}
    for one in report.proposals:
        asked.setdefault((one.table, one.line), []).append(one.path)
    for (heading, line), paths in asked.items():
        lines.append(f"not named yet by {', '.join(paths)}: write under {heading} in the project file\n  {line}")
    lines.append("then `lockship lock` in each project; `lockship packages align --check` tells when all follow")
    return "\n".join(lines)


def _projects(count: int) -> str:
    from builder.words import plural

    return plural(count, "project")


def _follow(count: int) -> str:
    return "follows" if count == 1 else "follow"


def _text(found: Survey, projects: int) -> str:
    from builder.cli.table import table
    from builder.words import human_size, plural

    shown = [one for one in found.packages if one.kind != "deb" or one.apart]
    head = ("package", "", "version", "used by", "apart", "stored", "with one")
    lines = [table(head, [row for one in shown for row in _rows(one)], right=(5, 6)), ""] if shown else []
    drifting = sum(1 for one in found.packages if one.apart)
    debs = sum(1 for one in found.packages if one.kind == "deb" and not one.apart)
    aside = f" ({debs} of them debs with one version each)" if debs else ""
    lines.append(
        f"{_projects(projects)}, {plural(len(found.packages), 'package')}{aside}: {drifting} in several versions"
    )
    parts = ", ".join(f"{_KINDS.get(kind, kind)} {human_size(size)}" for kind, size in found.stored_by_kind.items())
    lines.append(f"stored: {human_size(found.stored)} in {plural(found.layers, 'layer')} ({parts})")
    if drifting:
        saved = found.stored - found.with_one
        percent = 100 * saved / found.stored if found.stored else 0
        lines.append(
            f"with one version of each, the newest in use: {human_size(found.with_one)}; {human_size(saved)} "
            f"({percent:.0f} %) less to push, to store, and to pull for whoever runs all"
        )
        lines.append("`lockship packages align` writes a list of versions that satisfy all")
    return "\n".join(lines)


_KINDS = {"base": "base images", "conda": "conda packages", "deb": "debs", "jar": "jars", "wheel": "wheels"}


def _rows(one: Package) -> list[tuple[str, ...]]:
    from builder.words import human_size, listed

    sizes = (human_size(one.stored), human_size(one.with_one) if one.apart else "") if one.stored else ("", "")
    rows: list[tuple[str, ...]] = []
    for number, used in enumerate(one.versions):
        first = number == 0
        head = (one.name, one.kind) if first else ("", "")
        tail = (one.apart, *sizes) if first else ("", "", "")
        rows.append((*head, used.version, listed(used.projects), *tail))
    return rows
