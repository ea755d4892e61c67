"""What was measured with a registry, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.measure import median, paired_ratio
from bench.rows import Row
from bench.tables import Goal, ratio, size, table, value

__all__ = ["registry_goals", "registry_sections"]

_OURS = "lockship"
_THEIRS = "docker + uv"
_PUSHES = ("push-first", "push-bump", "push-code", "push-second")


def registry_goals(rows: Mapping[str, Row]) -> list[Goal]:
    """The promises that the measured rows can tell about."""
    found: list[Goal] = []

    def faster(key: str, factor: float, what: str) -> None:
        if key in rows:
            times = paired_ratio(rows[key].samples[_THEIRS], rows[key].samples[_OURS])
            found.append(Goal(what, f"≥ {factor:g} times faster", f"{times:.1f} times", times >= factor))

    def below(key: str, limit: float, wanted: str, what: str) -> None:
        if key in rows:
            sent = rows[key].extra["sent"][_OURS]
            found.append(Goal(what, wanted, size(sent), median(sent) <= limit))

    faster("push-first", 5, "first push, against docker push")
    faster("push-bump", 20, "one bumped: build and push, against docker + uv")
    if "push-bump" in rows:
        layer = rows["push-bump"].extra["layer"]
        times = median(rows["push-bump"].extra["sent"][_OURS]) / layer
        what = f"one bumped: bytes sent, against its layer of {size([layer])}"
        found.append(Goal(what, "≤ 1.2 times", f"{times:.2f} times", times <= 1.2))
    if "push-code" in rows:
        seconds = median(rows["push-code"].samples[_OURS])
        found.append(Goal("code changed, empty runner", "< 1.5 s", f"{seconds:.2f} s", seconds < 1.5))
    below("push-code", 200e3, "< 200 KB", "code changed, empty runner: bytes sent")
    below("push-second", 1e6, "< 1 MB", "a second project with the same packages: bytes sent")
    if "model" in rows:
        share = _share(rows["model"])
        what = "a model of 2 GB: throughput, of what `curl -T` reaches"
        found.append(Goal(what, "≥ 80 %", f"{share:.0%}", share >= 0.8))
    if "model-memory" in rows:
        peak = next(iter(rows["model-memory"].samples.values()))[0]
        found.append(Goal("peak memory: push, a model of 2 GB", "< 300 MB", f"{peak:.0f} MB", peak < 300))
    return found


def _share(row: Row) -> float:
    """How fast the bytes of the model go out, next to curl: what a push takes that planning doesn't take already."""
    ours = [push - plan for push, plan in zip(row.samples["lockship push"], row.samples["lockship plan"], strict=True)]
    return 1 / paired_ratio(ours, row.samples["curl -T"])


def registry_sections(rows: Mapping[str, Row]) -> list[str]:
    """The page's sections."""
    parts = []
    if found := [rows[key] for key in _PUSHES if key in rows]:
        parts.append(_pushes(found))
    if "arrival" in rows:
        parts.append(_arrival(rows["arrival"]))
    if "model" in rows:
        parts.append(_model(rows["model"]))
    if "questions" in rows:
        row = rows["questions"]
        parts.append(
            f"## Asking\n\n{row.title.capitalize()}, asked of the registry by eight threads, connections included: "
            f"{value(row.samples[_OURS], 's')}."
        )
    return parts


_PUSH_TEXT = """
## Releases to a registry

A registry on the same machine (Debian's docker-registry, Distribution 2.8), reached through a proxy that counts the
bytes of all connections: bodies, and the heads of requests and answers. Both sides push with byte code.

- First push: the image is built, the registry is empty. Nothing is made, everything is sent, the base too.
- Bumped: the version before is in the registry, the new lock is checked out, its wheel is here. Build and push.
- Code changed: one line of code is another. lockship's runner starts with an empty cache and no store. docker's fresh
  runner has no build cache and no cache mount, but it has the base and the tools already, which it is not charged for;
  with `--cache-from` it takes what it can from the image before, which was pushed with an inline cache. The last line
  is a builder that keeps its cache and never goes away.
- Second project: the same lock and another name, code of its own, in another repository of the same registry. On
  lockship's side the first is named in `[store] shared`, and the runner is empty.
"""


def _pushes(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        for name, samples in row.samples.items():
            ours = name == _OURS
            lines.append(
                (
                    row.title,
                    name,
                    value(samples, "s"),
                    "" if ours else ratio(samples, row.samples[_OURS]),
                    size(row.extra["sent"][name]),
                    size(row.extra["received"][name]),
                    value(row.extra["user"][name], "s") if ours else "",
                )
            )
    head = ("", "", "time", "÷ lockship", "sent", "received", "processor (user)")
    return _PUSH_TEXT.strip() + "\n\n" + table(head, lines)


def _arrival(row: Row) -> str:
    lines = [
        (
            name if name != _OURS else "`lockship load REFERENCE`",
            value(samples, "s"),
            "" if name == _OURS else ratio(samples, row.samples[_OURS]),
            size(row.extra["received"][name]),
        )
        for name, samples in row.samples.items()
    ]
    text = f"## Into an engine\n\n{row.title.capitalize()}; the engine has the version before.\n\n"
    return text + table(("", "time", "÷ lockship", "received"), lines)


def _model(row: Row) -> str:
    lines = [
        (f"`{name}`", value(samples, "s"), value(row.extra["user"][name], "s")) for name, samples in row.samples.items()
    ]
    text = (
        "## A model of 2 GB\n\nRandom bytes; everything else of the project is in the registry. No proxy is between. "
        "curl sends the same bytes in one PUT and is told their digest; `lockship push` finds it out first, as "
        "`lockship plan` does, and checks it again while it sends. So its throughput is that of the time that a push "
        "takes longer than a plan.\n\n"
    )
    return text + table(("whole process", "time", "processor (user)"), lines)
