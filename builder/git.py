"""Facts of a checkout, asked of git itself: its formats and its configuration are its own business."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from builder.errors import ProjectError

__all__ = [
    "Checkout",
    "changed_files",
    "checkout",
    "commit_of",
    "default_branch",
    "describe",
    "ignored_files",
    "is_pushed",
    "is_shallow",
    "last_commit",
    "merge_base",
    "source_url",
    "sources",
    "top_folder",
    "who",
]

# Ours, below the project's folder: what a build writes must not make the next build's tree dirty.
_OWN_FOLDER: Final = ".lockship"

# What may stay of the caller's GIT_* variables: which folders are trusted, and where the search for .git ends.
_KEPT: Final = re.compile(r"GIT_(CONFIG_(COUNT|KEY_\d+|VALUE_\d+|GLOBAL|SYSTEM|NOSYSTEM)|CEILING_DIRECTORIES)")

# core.fsmonitor may name a program to run, log.showSignature mixes gpg's output into ours.
_PLAIN: Final = ("-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "-c", "core.quotePath=false")

_NAMES: Final = "surrogateescape"  # how Python has names of files that are not UTF-8


@dataclass(frozen=True, slots=True)
class Checkout:
    """A project's folder as git sees it.

    `commit` is the full id and `time` the committer's time in seconds since 1970 (both None before the first commit);
    `branch` is None when HEAD is detached; `source` is where the repository can be read (https, no credentials);
    `dirty` says whether anything below the project's folder differs from the commit, untracked files included.
    """

    commit: str | None
    time: int | None
    branch: str | None
    source: str | None
    dirty: bool


def checkout(folder: Path, environ: Mapping[str, str]) -> Checkout | None:
    """The facts of `folder`, or None when it is in no repository or there is no git.

    Raises ProjectError when there is a repository that git refuses to read (owned by somebody else, damaged):
    an image must not lose its revision silently.
    """
    try:
        # all three at once: each takes milliseconds, nearly all of it starting up
        status = _start(folder, environ, "status", "--porcelain=v2", "--branch", "-z", "--no-renames",
                        "--untracked-files=normal", "--", ".", f":(exclude){_OWN_FOLDER}")  # fmt: skip
        log = _start(folder, environ, "log", "-1", "--no-show-signature", "--format=%ct", "--no-color")
        config = _start(folder, environ, "config", "--local", "-z", "--get-regexp", r"^remote\..*\.url$")
    except OSError:
        return None
    (code, output, complaint), (_, seconds, _), (_, urls, _) = _finish(status), _finish(log), _finish(config)
    if code:
        if "not a git repository" in complaint:
            return None
        raise _refused(complaint, folder)
    records = output.split("\0")
    header = dict(record[2:].split(" ", 1) for record in records if record.startswith("# "))
    commit = header.get("branch.oid", "(initial)")
    branch = header.get("branch.head", "(detached)")
    return Checkout(
        commit=None if commit == "(initial)" else commit,
        time=int(seconds) if seconds.strip() else None,
        branch=None if branch == "(detached)" else branch,
        source=_source(urls),
        dirty=any(record and not record.startswith("# ") for record in records),
    )


def describe(folder: Path, environ: Mapping[str, str]) -> str:
    """The version that ``git describe --tags`` gives, as a valid image tag: ``v1.4.0`` is ``1.4.0``.

    Commits after the tag add ``-N-gCOMMIT`` (12 digits, whatever git is configured to). Raises ProjectError when
    there is no tag to count from.
    """
    try:
        code, output, complaint = _finish(_start(folder, environ, "describe", "--tags", "--abbrev=12"))
    except OSError as error:
        raise ProjectError("version = { git = true } needs git", hint="install git, or write the version") from error
    if code:
        if "not a git repository" in complaint:
            raise ProjectError("version = { git = true }, but this is not a git repository", file=folder)
        if "No names found" in complaint or "No tags can describe" in complaint or "HEAD" in complaint:
            raise ProjectError(
                "version = { git = true }, but no tag leads to this commit",
                hint="tag a commit (git tag v0.1.0); in CI, fetch tags and history (fetch-depth: 0)",
            )
        raise _refused(complaint, folder)
    return _as_tag(output.strip())


def top_folder(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """The folder of the checkout that `folder` lies in, or None when it lies in none or there is no git.

    Raises ProjectError when git refuses to say.
    """
    try:
        code, output, complaint = _finish(_start(folder, environ, "rev-parse", "--show-toplevel"), _NAMES)
    except OSError:
        return None
    if code and "not a git repository" not in complaint:
        raise _refused(complaint, folder)
    return None if code else Path(output.removesuffix("\n"))


def sources(folder: Path, names: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The files called one of `names` below `folder`, relative to it, sorted: tracked ones, and new ones not ignored.

    None when it lies in no repository or there is no git. Raises ProjectError when git refuses to say.
    """
    wanted = [f":(glob)**/{name}" for name in names]
    try:
        process = _start(folder, environ, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted)
    except OSError:
        return None
    code, output, complaint = _finish(process, _NAMES)
    if code and "not a git repository" not in complaint:
        raise _refused(complaint, folder)
    return None if code else tuple(sorted({path for path in output.split("\0") if path}))


def commit_of(folder: Path, name: str, environ: Mapping[str, str]) -> str | None:
    """The id of the commit that `name` (a branch, a tag, ``HEAD~1``) names, or None when there is none."""
    return _said(folder, environ, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def merge_base(folder: Path, one: str, other: str, environ: Mapping[str, str]) -> str | None:
    """The commit that two commits, given by their ids, last had in common, or None when there is none."""
    return _said(folder, environ, "merge-base", one, other)


def is_shallow(folder: Path, environ: Mapping[str, str]) -> bool:
    """Whether the clone lacks older commits."""
    return _said(folder, environ, "rev-parse", "--is-shallow-repository") == "true"


def changed_files(top: Path, commit: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What differs between a commit, given by its id, and the files that are there now, relative to `top`.

    `top` is the checkout's own folder. Deleted files are among them, and new ones that aren't ignored; a submodule,
    or another repository that lies in this one, is one path. Raises ProjectError when git refuses to say.
    """
    plain = ("--name-only", "-z", "--no-renames", "--no-relative", "--no-ext-diff", "--no-color")
    diff = _start(top, environ, "-c", "diff.autoRefreshIndex=true", "diff", *plain, "--ignore-submodules=none", commit)
    new = _start(top, environ, "ls-files", "-z", "--others", "--exclude-standard")
    (code, changed, complaint), (other, fresh, trouble) = _finish(diff, _NAMES), _finish(new, _NAMES)
    if code or other:
        raise _refused(complaint if code else trouble, top)
    return tuple(sorted({path.rstrip("/") for path in (changed + fresh).split("\0") if path}))


def ignored_files(top: Path, paths: Sequence[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Those of `paths`, relative to `top`, that git doesn't track because it is told to ignore them."""
    process = _start(top, environ, "check-ignore", "-z", "--stdin", stdin=subprocess.PIPE)
    output, _ = process.communicate("".join(f"{path}\0" for path in paths).encode("utf-8", _NAMES))
    return frozenset(path for path in output.decode("utf-8", _NAMES).split("\0") if path)


def is_pushed(folder: Path, commit: str, environ: Mapping[str, str]) -> bool:
    """Whether a remote has `commit`, as far as this clone knows without asking it.

    A clone that CI made at a commit, without branches, got the commit from there.
    """
    try:
        remotes = _start(folder, environ, "for-each-ref", "--count=1", "--contains", commit, "refs/remotes")
        tags = _start(folder, environ, "config", "--local", "--get-regexp", r"^remote\..*\.url$")
        branch = _start(folder, environ, "symbolic-ref", "--quiet", "HEAD")
    except OSError:
        return False
    (code, found, _), (_, urls, _), (detached, _, _) = _finish(remotes), _finish(tags), _finish(branch)
    if code == 0 and found.strip():
        return True
    # a job's clone: HEAD stands on a commit and on no branch, and there is somewhere it came from
    known = {environ.get(name) for name in ("CI_COMMIT_SHA", "GITHUB_SHA", "BUILD_SOURCEVERSION", "GIT_COMMIT")}
    return bool(detached and urls.strip() and commit in known)


def who(folder: Path, environ: Mapping[str, str]) -> str | None:
    """``Name <address>`` as git would sign a commit here, or None when nobody told it."""
    try:
        name = _start(folder, environ, "config", "user.name")
        mail = _start(folder, environ, "config", "user.email")
    except OSError:
        return None
    (_, first, _), (_, second, _) = _finish(name), _finish(mail)
    parts = [part for part in (first.strip(), f"<{second.strip()}>" if second.strip() else "") if part]
    return " ".join(parts) or None


def last_commit(folder: Path, file: str | None, environ: Mapping[str, str]) -> str | None:
    """The commit that `file` (or, for None, any of the Python files in `folder`) was last changed by.

    None when that isn't known: it differs from what was committed, or there is no repository or no git.
    """
    what = ":(glob)**/*.py" if file is None else f":(literal){file}"
    try:
        status = _start(folder, environ, "status", "--porcelain=v2", "-z", "--untracked-files=all", "--", what)
        log = _start(folder, environ, "log", "-1", "--no-show-signature", "--format=%H", "--no-color", "--", what)
    except OSError:
        return None
    (code, changed, _), (other, commit, _) = _finish(status), _finish(log)
    return None if code or other or changed else commit.strip() or None


def default_branch(folder: Path, environ: Mapping[str, str]) -> str | None:
    """The branch that ``origin`` starts from, as the clone remembers it, or None when it doesn't."""
    try:
        code, output, _ = _finish(_start(folder, environ, "symbolic-ref", "--short", "refs/remotes/origin/HEAD"))
    except OSError:
        return None
    return None if code else output.strip().removeprefix("origin/")


def came_from_origin(folder: Path, environ: Mapping[str, str]) -> bool:
    """Whether some branch of ``origin`` is known here, or HEAD stands on none and there is an ``origin`` to ask."""
    if _said(folder, environ, "for-each-ref", "--count=1", "refs/remotes/origin"):
        return True
    detached = _said(folder, environ, "symbolic-ref", "--quiet", "HEAD") is None
    return detached and _said(folder, environ, "config", "--get", "remote.origin.url") is not None


def source_url(remote: str) -> str | None:
    """`remote` as an https address that people can open, without credentials; None for paths of one machine.

    ``git@host:org/repo.git`` and ``ssh://git@host:22/org/repo`` both give ``https://host/org/repo``.
    """
    remote = remote.strip()
    short = re.fullmatch(r"(?:[^@/:]+@)?([A-Za-z0-9.-]{2,}):(?!//)(.+)", remote)
    if short and "://" not in remote:
        return _https(short[1], None, short[2])
    try:
        parts = urlsplit(remote)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "ssh", "git", "git+ssh") or not parts.hostname:
        return None
    web = parts.scheme in ("http", "https")
    return _https(parts.hostname, port if web else None, parts.path, scheme=parts.scheme if web else "https")


def _https(host: str, port: int | None, path: str, scheme: str = "https") -> str | None:
    path = path.strip("/").removesuffix(".git").strip("/")
    if not path:
        return None
    return f"{scheme}://{host.lower()}{f':{port}' if port else ''}/{path}"


def _source(listing: str) -> str | None:
    """Of ``remote.NAME.url\\nVALUE\\0`` records: origin's, else that of the only remote."""
    remotes: dict[str, str] = {}
    for record in listing.split("\0"):
        key, _, value = record.partition("\n")
        if value:
            remotes.setdefault(key.removeprefix("remote.").removesuffix(".url"), value)
    if "origin" in remotes:
        return source_url(remotes["origin"])
    return source_url(next(iter(remotes.values()))) if len(remotes) == 1 else None


def _as_tag(described: str) -> str:
    version = described[1:] if re.match(r"v\d", described) else described
    version = re.sub(r"[^A-Za-z0-9._-]+", "-", version).lstrip(".-")[:128]
    if not version:
        raise ProjectError(f"the git tag {described!r} makes no version", hint="tag with letters, digits and . _ -")
    return version


def _said(folder: Path, environ: Mapping[str, str], *arguments: str) -> str | None:
    """The one line that git answers with, or None when it fails or there is no git."""
    try:
        code, output, _ = _finish(_start(folder, environ, *arguments))
    except OSError:
        return None
    return None if code else output.strip() or None


def _start(
    folder: Path, environ: Mapping[str, str], *arguments: str, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    clean = {key: value for key, value in environ.items() if not key.startswith("GIT_") or _KEPT.fullmatch(key)}
    clean |= {"LC_ALL": "C", "LANGUAGE": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.Popen(
        ["git", *_PLAIN, *arguments],
        cwd=folder,
        env=clean,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _finish(process: subprocess.Popen[bytes], errors: str = "replace") -> tuple[int, str, str]:
    output, complaint = process.communicate()
    return process.returncode, output.decode("utf-8", errors), complaint.decode("utf-8", "replace")


def _refused(complaint: str, folder: Path) -> ProjectError:
    if "dubious ownership" in complaint:
        return ProjectError(
            "git refuses to read this repository: it belongs to another user",
            hint="git config --global --add safe.directory FOLDER, with the repository's folder",
            file=folder,
        )
    first = next((line for line in complaint.splitlines() if line.startswith("fatal:")), complaint.strip())
    return ProjectError(f"git cannot read this repository: {first.removeprefix('fatal: ')}", file=folder)
