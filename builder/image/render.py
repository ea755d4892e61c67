"""A comparison as text: what a reviewer reads in a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from builder.content import Platform
from builder.image.diff import Change, Changes, Comparison, FileChange

__all__ = ["render"]

_TITLES: Final = {
    "base": "base",
    "debs": "system packages",
    "wheels": "packages",
    "jars": "jars",
    "models": "models",
    "files": "files",
    "config": "configuration",
    "layers": "other layers",
}
_LINES: Final = 40  # of one list; a reviewer who wants more asks for JSON
_VALUE: Final = 120  # characters of one value


def render(comparison: Comparison) -> str:
    """`comparison` in lines; what is equal on all platforms is said once."""
    if not comparison:
        return f"no difference to {comparison.tag} ({comparison.old.short})"
    return "\n".join(_lines(comparison))


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"{comparison.tag} ({comparison.old.short}) → {comparison.new.short}"
    yield from (f"  {_change(change, '=')}" for change in comparison.origin)
    for word, only in (("+", comparison.added), ("-", comparison.removed)):
        yield from (f"  {word} platform {platform}" for platform in only)
    groups: dict[Changes, list[Platform]] = {}
    for platform, changes in comparison.changes.items():
        if changes:
            groups.setdefault(changes, []).append(platform)
    everywhere = len(groups) == 1 and len(next(iter(groups.values()))) == len(comparison.changes)
    for changes, platforms in groups.items():
        if not everywhere:
            yield f"only {', '.join(map(str, platforms))}:"
        for name, title in _TITLES.items():
            found: Sequence[Change | FileChange] = getattr(changes, name)
            if not found:
                continue
            yield title
            for item in found[:_LINES]:
                yield f"  {_file(item)}" if isinstance(item, FileChange) else f"  {_change(item, _joint(name))}"
            if len(found) > _LINES:
                yield f"  … and {len(found) - _LINES} more"
    if not groups and not comparison.added and not comparison.removed:
        yield "  the same content"


def _joint(name: str) -> str:
    return "=" if name == "config" else " "


def _change(change: Change, joint: str) -> str:
    if change.old is None:
        return f"+ {change.name}{joint}{_cut(change.new)}".rstrip()
    if change.new is None:
        return f"- {change.name}{joint}{_cut(change.old)}".rstrip()
    if change.old == change.new:
        return f"~ {change.name} {change.old} (same version, other bytes)"
    return f"~ {change.name}{joint}{_cut(change.old)} → {_cut(change.new)}"


def _file(change: FileChange) -> str:
    if change.old_size is None:
        return f"+ {change.path} ({change.new_size:,} bytes)"
    if change.new_size is None:
        return f"- {change.path} ({change.old_size:,} bytes)"
    if change.old_size == change.new_size:
        return f"~ {change.path} ({change.new_size:,} bytes)"
    return f"~ {change.path} ({change.old_size:,} → {change.new_size:,} bytes)"


def _cut(value: str | None) -> str:
    text = (value or "").replace("\n", "\\n")
    return text if len(text) <= _VALUE else text[: _VALUE - 1] + "…"
