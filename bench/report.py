"""Results as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.measure import median, paired_ratio
from bench.report_registry import registry_goals, registry_sections
from bench.rows import Row
from bench.tables import Goal, ratio, table, value

__all__ = ["goals", "markdown"]

_SIDE_BY_SIDE = (
    "downloads",
    "cached",
    "nothing-changed",
    "code-changed",
    "bump",
    "import",
    "size",
    "size-unpacked",
)


def goals(rows: Mapping[str, Row]) -> list[Goal]:
    """The promises that the measured rows can tell about."""
    found: list[Goal] = []

    def times(key: str, theirs: str, ours: str, factor: float, what: str) -> None:
        if key in rows and theirs in rows[key].samples and ours in rows[key].samples:
            measured = paired_ratio(rows[key].samples[theirs], rows[key].samples[ours])
            found.append(Goal(what, f"≥ {factor:g} times faster", f"{measured:.1f} times", measured >= factor))

    def below(key: str, name: str, limit: float, what: str, unit: str) -> None:
        if key in rows and name in rows[key].samples:
            middle = median(rows[key].samples[name])
            shown = f"{middle:.2f} {unit}" if unit == "s" else f"{middle:.0f} {unit}"
            found.append(Goal(what, f"< {limit:g} {unit}", shown, middle < limit))

    times("cached", "uv", "lockship", 2, "downloads cached, no byte code, against docker + uv")
    times("cached", "pip", "lockship", 8, "downloads cached, no byte code, against docker + pip")
    times("cached", "uv+bytecode", "lockship+bytecode", 1, "downloads cached, with byte code, against docker + uv")
    times("bump", "uv+bytecode", "lockship+bytecode", 10, "one bumped, with byte code, against docker + uv")
    below("nothing-changed", "lockship+bytecode", 0.5, "nothing changed, whole process", "s")
    below("startup", "lockship --help", 0.2, "`lockship --help`", "s")
    if "memory" in rows:
        for name in rows["memory"].samples:
            below("memory", name, 300, f"peak memory: {name}", "MB")
    times("import", "uv+bytecode", "lockship+bytecode", 0.97, "import in the container, with byte code: not slower")
    return found + registry_goals(rows)


def markdown(rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """Everything as one page."""
    found = {row.key: row for row in rows}
    parts = [_HEAD, _facts(facts), _goals(goals(found))]
    parts.append(_side_by_side([found[key] for key in _SIDE_BY_SIDE if key in found]))
    if loaded := [found[key] for key in ("engine", "engine-bump") if key in found]:
        parts.append(_loaded(loaded, found))
    parts += registry_sections(found)
    if "growth" in found:
        parts.append(_growth(found["growth"]))
    if "memory" in found:
        parts.append(_memory(found["memory"]))
    if "startup" in found:
        parts.append(_startup(found["startup"]))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


_HEAD = """
# Benchmarks

`make bench` compares lockship with `docker build`, with pip and with uv, in one run on one machine: the same
hash-pinned `requirements.lock`, the same base content. This page is the result of such a run.

How equal conditions were made:

- The base of the docker images is lockship's own base with the virtual environment's skeleton, loaded into the
  engine beforehand. On lockship's side the base's layers are in the cache. So a row tells about the environment, not
  about Debian.
- pip and uv lie in an image of their own and are mounted while they run; the images don't carry them. uv runs as its
  documentation recommends for Docker: `uv pip sync` with a cache mount and `--link-mode copy`, with and without
  `--compile-bytecode`. From a filled cache it runs with `--offline`. pip runs with a cache mount, with and without
  `--no-compile`.
- "Cached" means: lockship has the wheels and no layer, no record, no store; uv and pip have a filled cache mount,
  which for uv holds the wheels unpacked.
- Times are of whole client processes, from the shell's point of view. `docker build` leaves an image in the engine,
  `lockship build` one in its store, ready to be pushed; what it costs to load that into an engine has rows of its own.
- The sides take turns, run by run. The table shows medians; ratios are medians of the ratios of neighbouring runs, so
  that what else the machine does hits both.
"""


def _facts(facts: Mapping[str, str]) -> str:
    return table(("fact", ""), [(key, value) for key, value in facts.items()])


def _goals(found: Iterable[Goal]) -> str:
    rows = [(goal.what, goal.wanted, goal.found, "yes" if goal.met else "**no**") for goal in found]
    return "## Goals\n\n" + table(("", "wanted", "measured", "met"), rows) if rows else ""


def _side_by_side(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = []
    for row in rows:
        for bytecode in (False, True):
            suffix = "+bytecode" if bytecode else ""
            ours, *theirs = (row.samples[f"{tool}{suffix}"] for tool in ("lockship", "uv", "pip"))
            cells = [value(one, row.unit) for one in (ours, *theirs)]
            ratios = [ratio(one, ours) for one in theirs]
            title = f"{row.title} ({row.note})" if row.note and row.key == "bump" else row.title
            lines.append((title, "yes" if bytecode else "no", *cells, *ratios))
    head = ("", "byte code", "lockship", "docker + uv", "docker + pip", "uv ÷ lockship", "pip ÷ lockship")
    return "## Side by side\n\n" + table(head, lines)


def _loaded(rows: Sequence[Row], found: Mapping[str, Row]) -> str:
    lines = []
    for row in rows:
        other = found.get("cached" if row.key == "engine" else "bump")
        for suffix in ("", "+bytecode"):
            theirs = other.samples.get(f"uv{suffix}") if other else None
            ours = row.samples[f"lockship{suffix}"]
            lines.append((row.title, "yes" if suffix else "no", value(ours, "s"), value(theirs, "s") if theirs else ""))
    head = ("", "byte code", "`lockship load`", "docker + uv")
    text = (
        "## Until it can run in a local engine\n\n`lockship load` builds and streams the image into the engine, which "
        "unpacks it; `docker build` is there already when it ends. A registry or a layout store doesn't need this "
        "step.\n\n"
    )
    return text + table(head, lines)


def _growth(row: Row) -> str:
    lines = []
    for size in row.extra["sizes"]:
        cells = [str(size["packages"]), f"{size['megabytes']:.1f} MB"]
        for suffix in ("", "+bytecode"):
            ours, theirs = (row.samples[f"{tool}{suffix} {size['packages']}"] for tool in ("lockship", "uv"))
            cells += [value(ours, "s"), value(theirs, "s"), ratio(theirs, ours)]
        lines.append(tuple(cells))
    head = (
        "packages",
        "wheels",
        "lockship",
        "docker + uv",
        "ratio",
        "lockship, byte code",
        "docker + uv, byte code",
        "ratio",
    )
    return f"## How it grows\n\nEnvironment from cached downloads. {row.note}\n\n" + table(head, lines)


def _memory(row: Row) -> str:
    lines = []
    for name, samples in row.samples.items():
        extra = row.extra[name]
        cells = (f"{median(samples):.0f} MB", f"{extra['rss']:.0f} MB", f"{extra['largest']:.0f} MB")
        lines.append((name, *cells, f"{extra['seconds']:.1f} s"))
    head = ("", "peak of all processes", "shared pages counted in each", "largest process", "took, while watched")
    return f"## Memory\n\n{row.note}\n\n" + table(head, lines)


def _startup(row: Row) -> str:
    lines = [(f"`{name}`", value(samples, "s")) for name, samples in row.samples.items()]
    return "## Nothing to do\n\n" + table(("whole process", ""), lines)
