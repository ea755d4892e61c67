"""Is this machine ready? Python, disks, uv, apt, a Docker engine, git; what each is for decides how bad it is."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from builder import __version__, git
from builder.content import Platform
from builder.deploy import engine
from builder.errors import LockError, LockshipError, ProjectError, StoreError
from builder.lock import sources, tools
from builder.lock.apt import Apt
from builder.lock.base import reference_of
from builder.lock.debian import suite_of
from builder.pipeline.context import host_platform
from builder.pipeline.doctor.checks import Check, failed, of_error, ok, skipped, warning
from builder.progress import SILENT
from builder.project import GitVersion, Project
from builder.words import human_size, listed

__all__ = ["Disk", "check_apt", "check_disk", "check_docker", "check_git", "check_lockship", "check_uv", "disks"]

LITTLE: Final = 2_000_000_000  # bytes: less than this is soon used up
NONE_LEFT: Final = 100_000_000
_UV_PATIENCE: Final = 30.0  # seconds
_PATIENCE: Final = 5.0  # seconds for a connection
_APT_NEEDED: Final = "only locking, and making layers that no store holds, need apt"


def check_lockship() -> Check:
    """Which Lockship, which Python, which machine."""
    python = f"Python {platform.python_version()}"
    target = host_platform()
    if target is None:
        return warning(
            "host",
            "lockship",
            f"{__version__} on {python}, {platform.system()} {platform.machine()}",
            "byte code is compiled on linux/amd64 and linux/arm64 only: set `bytecode = false`, or lock there",
        )
    return ok("host", "lockship", f"{__version__} on {python}, {target}")


# disks


@dataclass(frozen=True, slots=True)
class Disk:
    """Free and total bytes of the file system that `folder` lies on; `holds` says what of ours."""

    folder: Path
    holds: str
    free: int
    total: int


def disks(folders: Mapping[str, Path]) -> tuple[Disk, ...]:
    """The disks of `folders` by what they hold, each disk once; a folder that isn't there yet counts as its parent."""
    found: dict[int, Disk] = {}
    for holds, folder in folders.items():
        there = next((one for one in (folder, *folder.parents) if os.access(one, os.F_OK)), Path("/"))
        device, usage = there.stat().st_dev, shutil.disk_usage(there)
        if device in found:
            holds = f"{found[device].holds} and {holds}"
        found[device] = Disk(there, holds, usage.free, usage.total)
    return tuple(found.values())


def check_disk(disk: Disk) -> Check:
    """Whether there is room to work."""
    left = f"{human_size(disk.free)} of {human_size(disk.total)} free for the {disk.holds}"
    if disk.free >= LITTLE:
        return ok("host", "disk", left)
    hint = (
        f"an image with the usual libraries takes some hundred megabytes: free some space on the disk of {disk.folder}"
    )
    if "cache" in disk.holds:
        hint += ", or name another folder with LOCKSHIP_CACHE"
    return (failed if disk.free < NONE_LEFT else warning)("host", "disk", left, hint)


# tools


def check_uv(environ: Mapping[str, str]) -> Check:
    """Whether the uv that came with us is there, and runs."""
    try:
        path = tools.uv_binary()
        done = tools.run_tool([path, "--version"], environ=environ, folder=Path("/"), timeout=_UV_PATIENCE)
    except LockshipError as error:
        return of_error("host", "uv", error)
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or "it doesn't answer"
        return failed(
            "host", "uv", f"{path} cannot be run: {why}", "install lockship again: uv comes with it", exit_code=3
        )
    if done.code:
        return failed(
            "host", "uv", f"{path} ended with {done.code}", "install lockship again: uv comes with it", exit_code=3
        )
    return ok("host", "uv", done.text.strip().removeprefix("uv ").partition(" (")[0])


def check_apt(project: Project | None, environ: Mapping[str, str]) -> Check:
    """Whether debs can be resolved and fetched here: apt, and sources with their keys for the project's suite."""
    try:
        if project is not None and reference_of(project.image.base, file=project.file) is not None:
            return skipped("host", "apt", f"not needed: the base is {project.image.base}")
    except ProjectError as error:
        return of_error("host", "apt", error)
    try:
        apt = Apt(host_platform() or Platform("linux", "amd64"), environ)
    except LockError as error:
        return warning("host", "apt", "there is no apt-get" if "lacks" in error.message else str(error), error.hint)
    except OSError as error:
        return warning("host", "apt", f"apt-config cannot be run: {error.strerror}", _APT_NEEDED)
    if project is None:
        return ok("host", "apt", "is there; which sources it needs depends on the project's base")
    notes = _Notes()
    try:
        suite = suite_of(project.image.base, file=project.file)
        list_file, parts = apt.host_sources
        found = sources.choose(
            suite, project.image.sources, root=project.root, list_file=list_file, parts=parts, progress=notes
        )
    except ProjectError as error:
        return of_error("host", "apt", error)
    except LockError as error:
        return warning("host", "apt", str(error), error.hint)
    if missing := missing_keys(found, apt.host_keys):
        return warning("host", "apt", *missing)
    text = f"{suite} from {listed(sorted({_archive(uri) for one in found for uri in one.uris}))}"
    if notes.warnings:
        return warning("host", "apt", f"{text}; {notes.warnings[0]}", "add the suite to this machine's apt sources")
    return ok("host", "apt", text)


def missing_keys(found: Iterable[sources.Repository], trusted: Iterable[Path]) -> tuple[str, str] | None:
    """What is wrong with the keys of these repositories, and what to do; None when there are some for each.

    `trusted` are the files and folders of keys that the machine trusts for everything.
    """
    for one in found:
        archive = _archive(one.uris[0])
        files = [Path(word) for word in one.signed_by.split() if word.startswith("/")]
        if gone := next((file for file in files if not os.access(file, os.R_OK)), None):
            return (
                f"the keyring {gone} of {archive} is not there, or may not be read",
                "install the package that ships it, such as debian-archive-keyring",
            )
        if not one.signed_by and not any(_holds_keys(path) for path in trusted):
            return (
                f"this machine has no keys for {archive}",
                "install debian-archive-keyring, or name the key in its source as signed-by",
            )
    return None


def _holds_keys(path: Path) -> bool:
    try:
        return path.stat().st_size > 0 if path.is_file() else any(path.glob("*.gpg")) or any(path.glob("*.asc"))
    except OSError:
        return False


def _archive(uri: str) -> str:
    return sources.strip_credentials(uri).rstrip("/")


class _Notes:
    """Keeps warnings for the check's own line."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.task = SILENT.task

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)


# the engine


def check_docker(environ: Mapping[str, str]) -> Check:
    """Whether a Docker engine answers, and what it is. Only loading and running need one."""
    chosen = _chosen_by(environ)
    try:
        _knock(engine.endpoint(environ))
        found = engine.connect(environ)
    except LockshipError as error:
        return warning("host", "docker", f"{error}{chosen}", error.hint)
    try:
        with engine.engine_errors(found):
            version = found.api.version().get("Version", "?")
    except LockshipError as error:
        return warning("host", "docker", f"{error}{chosen}", error.hint)
    finally:
        found.close()
    store = ", images in containerd's store" if found.containerd else ""
    return ok("host", "docker", f"engine {version}, {found.platform}{store}, at {found.host}{chosen}")


def _knock(where: engine.Endpoint) -> None:
    """Raise StoreError for a machine that doesn't answer, sooner than whoever waits for an engine's work would."""
    parts = urlsplit(where.host)
    if parts.scheme not in ("tcp", "http", "https") or not parts.hostname:
        return
    try:
        socket.create_connection((parts.hostname, parts.port or 2375), _PATIENCE).close()
    except (OSError, ValueError) as error:
        raise StoreError(
            f"no Docker engine answers at {where.shown}",
            hint="is its machine up? DOCKER_HOST names another; only load and run need an engine",
        ) from error


def _chosen_by(environ: Mapping[str, str]) -> str:
    """Who named the engine, as `deploy.engine.endpoint` looks for it."""
    if environ.get("DOCKER_HOST"):
        return " (DOCKER_HOST)"
    if name := environ.get("DOCKER_CONTEXT"):
        return f" (DOCKER_CONTEXT: {name})"
    try:
        return "" if engine.endpoint(environ) == engine.endpoint({**environ, "DOCKER_CONTEXT": "default"}) else _CONTEXT
    except LockshipError:
        return _CONTEXT


_CONTEXT: Final = " (the current docker context)"


# git


def check_git(project: Project | None, environ: Mapping[str, str]) -> Check:
    """What git says of the project's folder, and the version where it comes from git."""
    wanted = project is not None and isinstance(project.version, GitVersion)
    if shutil.which("git", path=environ.get("PATH")) is None:
        what = "version = { git = true } needs git" if wanted else "images don't say which commit they are from"
        state = failed if wanted else warning
        return state("host", "git", f"there is no git: {what}", "install git")
    if project is None:
        return ok("host", "git", "is there")
    try:
        checkout = git.checkout(project.root, environ)
        if checkout is None and not wanted:
            return warning(
                "host", "git", "the project is in no git repository", "images then don't say which commit they are from"
            )
        version = f"; version {git.describe(project.root, environ)}" if wanted else ""
    except ProjectError as error:
        return _without_version(project, error, environ)
    if checkout is None or checkout.commit is None:
        return warning("host", "git", "nothing is committed yet", "images then don't say which commit they are from")
    where = f"{checkout.branch or 'a detached HEAD'} at {checkout.commit[:12]}{version}"
    if checkout.dirty:
        return warning(
            "host", "git", f"{where}; the project has changes that are not committed", "commit them before a release"
        )
    return ok("host", "git", f"{where}, clean")


def _without_version(project: Project, error: ProjectError, environ: Mapping[str, str]) -> Check:
    """No tag leads here: in a shallow clone that says nothing about the project."""
    if "no tag" in error.message and is_shallow(project.root, environ):
        return failed(
            "host",
            "git",
            "a shallow clone without its tags: version = { git = true } finds none",
            "fetch them: git fetch --unshallow --tags; in CI, check out with the whole history (fetch-depth: 0)",
            exit_code=error.exit_code,
        )
    return of_error("host", "git", error)


def is_shallow(folder: Path, environ: Mapping[str, str]) -> bool:
    """Whether the clone that `folder` is in has only part of its history (gitrepository-layout(5), ``shallow``)."""
    top = git.top_folder(folder, environ)
    return top is not None and (top / ".git" / "shallow").is_file()
