"""Which projects a change touches: those with an input among the files that git says changed, and who needs them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from builder import git
from builder.errors import ProjectError, UsageError
from builder.pipeline.many.inputs import Inputs, inputs_of
from builder.pipeline.many.projects import Many, Member
from builder.words import listed

__all__ = ["Affected", "Since", "affected", "since_of"]

# of a change that is to be merged: GitHub, GitLab, Azure Pipelines, Jenkins
_TARGETS: Final = (
    "GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "SYSTEM_PULLREQUEST_TARGETBRANCH", "CHANGE_TARGET",
)  # fmt: skip
_MERGE_BASE: Final = "CI_MERGE_REQUEST_DIFF_BASE_SHA"  # GitLab fetches nothing but the change itself


@dataclass(frozen=True, slots=True)
class Since:
    """The commit that the files are compared with, and how it was come by, in words; without one all is new."""

    commit: str | None
    words: str


@dataclass(frozen=True, slots=True)
class Affected:
    """The projects that are affected, by their file, each with the reason.

    `unknown` are inputs that git can't tell the history of, in words; they don't make a project affected.
    """

    since: Since
    reasons: Mapping[Path, str]
    unknown: tuple[str, ...] = ()


def affected(many: Many, since: str | None, environ: Mapping[str, str]) -> Affected:
    """Compare the files as they are now with `since`, by default what `since_of` finds.

    Raises ProjectError when the projects are in no repository, UsageError when there is no such commit.
    """
    top = git.top_folder(many.root, environ)
    if top is None:
        raise ProjectError(
            f"{many.root} is in no git repository",
            hint="what changed is git's to say: leave --affected out, or git init",
        )
    base = since_of(top, since, environ)
    if base.commit is None:
        return Affected(base, {member.file: "all is new" for member in many.members})
    made = {member.file: inputs_of(member.project) for member in many.everybody if member.project is not None}
    changes = _Changes(top, git.changed_files(top, base.commit, environ))
    reasons: dict[Path, str] = {}
    for member in many.everybody:  # each after those that it depends on
        why = _why(member, made, changes) or _through(member, many, reasons)
        if why is not None:
            reasons[member.file] = why
    kept = {file: why for file, why in reasons.items() if file in many.inside}
    return Affected(base, kept, tuple(_unknown(many.everybody, made, top, environ)))


def since_of(top: Path, asked: str | None, environ: Mapping[str, str]) -> Since:
    """The commit to compare with: the one asked for, else where this branch left the one that it is to be merged into.

    That one a CI job's environment names; otherwise it is the one that origin starts from. On that branch itself, and
    without an origin, it is the commit before the last. Raises UsageError for one that isn't there, ProjectError where
    a clone lacks the branch or the history that it takes to tell.
    """
    if asked is not None:
        commit = git.commit_of(top, asked, environ)
        if commit is None:
            raise UsageError(
                f"--since {asked}: this repository has no such commit",
                hint="name a commit, a branch or a tag that git log knows; in CI, fetch history (fetch-depth: 0)",
            )
        return Since(commit, f"{asked} ({commit[:12]})")
    head = git.commit_of(top, "HEAD", environ)
    if head is None:
        return Since(None, "nothing: there is no commit yet")
    # CI fetches into an empty repository, where git doesn't write down which branch origin starts from
    known = _merged_into(environ) or git.default_branch(top, environ)
    mains = {name: git.commit_of(top, f"refs/remotes/origin/{name}", environ) for name in _usual(known)}
    branch, main = next(((name, commit) for name, commit in mains.items() if commit), (known, None))
    if main is None and (told := environ.get(_MERGE_BASE)) and (main := git.commit_of(top, told, environ)):
        return Since(main, f"{main[:12]}, where {_MERGE_BASE} says that this branch left the other one")
    if main is None and git.came_from_origin(top, environ):
        one = branch or "main"
        raise ProjectError(
            f"this clone has no origin/{branch or 'main or origin/master'} to compare with",
            hint=f"fetch it (git fetch origin {one}:refs/remotes/origin/{one}), or give --since", file=top,
        )  # fmt: skip
    common = git.merge_base(top, head, main, environ) if main else None
    if common is not None and common != head:
        return Since(common, f"{common[:12]}, where this branch left origin/{branch}")
    before = git.commit_of(top, "HEAD~1", environ)
    if before is not None and (common is not None or main is None):
        why = f"origin/{branch} has this commit already" if common else "there is no branch of origin to compare with"
        return Since(before, f"{before[:12]}, the commit before this one: {why}")
    if git.is_shallow(top, environ):
        raise ProjectError(
            "this clone has too little history to tell what changed",
            hint="fetch more of it (fetch-depth: 0, or git fetch --unshallow), or give --since", file=top,
        )  # fmt: skip
    return Since(None, "nothing: there is no commit before this one")


def _merged_into(environ: Mapping[str, str]) -> str | None:
    """The branch that a CI job's change is to be merged into, if it says so."""
    named = next((environ[name] for name in _TARGETS if environ.get(name)), None)
    return None if named is None else named.removeprefix("refs/heads/")


def _usual(known: str | None) -> tuple[str, ...]:
    return ("main", "master") if known is None else (known,)


@dataclass
class _Changes:
    """Changed paths, findable from every folder above them."""

    top: Path
    changed: Iterable[str]
    below: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.changed:
            whole = f"{self.top}/{path}"
            self.below.setdefault(whole, []).append(whole)
            folder = os.path.dirname(whole)  # noqa: PTH120  texts all the way
            while len(folder) >= len(str(self.top)):
                self.below.setdefault(folder, []).append(whole)
                folder = os.path.dirname(folder)  # noqa: PTH120
        self._whole = {f"{self.top}/{path}" for path in self.changed}

    def first(self, inputs: Inputs) -> str | None:
        """A changed path, relative to the checkout, that is one of `inputs` or lies in one; None when there is none."""
        found = {path for place in inputs.paths for path in self._at(place)}
        for place, counts in inputs.chosen:  # a submodule that holds the place is above it, and may be anything
            found |= {path for path in self._at(place) if not path.startswith(place) or counts(path)}
        return os.path.relpath(min(found), self.top) if found else None

    def _at(self, place: str) -> Iterable[str]:
        """Changes of `place`, below it, or of a submodule that it lies in."""
        if place in self.below:
            return self.below[place]
        above = place
        while len(above) > len(str(self.top)):
            above = os.path.dirname(above)  # noqa: PTH120
            if above in self._whole:
                return [above]
        return ()


def _why(member: Member, made: Mapping[Path, Inputs], changes: _Changes) -> str | None:
    if member.error is not None or member.file not in made:
        return "it can't be read"
    inputs = made[member.file]
    changed = changes.first(inputs)
    if changed is not None:
        return f"{changed} changed"
    return None if inputs.unread is None else f"what it requires can't be read: {inputs.unread.message}"


def _through(member: Member, many: Many, reasons: Mapping[Path, str]) -> str | None:
    names = {other.file: other.name for other in many.everybody}
    needed = next((file for file in many.needs.get(member.file, ()) if file in reasons), None)
    return None if needed is None else f"it depends on {names[needed]}"


def _unknown(
    members: Iterable[Member], made: Mapping[Path, Inputs], top: Path, environ: Mapping[str, str]
) -> Iterable[str]:
    """Inputs that are there, and that git has no history of: ignored ones, and those of other places."""
    places: dict[str, str] = {}
    for member in members:
        if (inputs := made.get(member.file)) is not None:
            named = {*(inputs.paths - inputs.derived), *(place for place, _ in inputs.chosen)}
            root = os.path.realpath(member.file.parent)
            there = (path for path in named if path != root and os.path.exists(path))  # noqa: PTH110
            # git says nothing of a path that leads through a link; where that leads is among the inputs
            places |= {path: member.name for path in there if (up := Path(path).parent) == up.resolve()}
    inside = {os.path.relpath(path, top): path for path in places if Path(path).is_relative_to(top)}
    ignored = git.ignored_files(top, sorted(inside), environ)
    outside = [path for path in places if not Path(path).is_relative_to(top)]
    for what, paths in (("git ignores", [inside[one] for one in ignored]), ("another place has", outside)):
        if paths:
            names = [f"{os.path.relpath(path, top)} (of {places[path]})" for path in sorted(paths)]
            yield f"{what} {listed(names)}: whether that changed isn't known, and it doesn't count"
