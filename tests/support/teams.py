"""Folders of several projects that share packages, with locks that were never resolved: written, not made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.content import Digest, Platform
from builder.lock.file import LOCK_FILE, REQUIREMENTS_FILE, Lock, LockedLayer, LockedPlatform
from builder.lock.pins import Artifact
from builder.pipeline.checking import fingerprints
from builder.project import Project, load_project

__all__ = ["AMD64", "member", "written_lock"]

AMD64 = Platform("linux", "amd64")


def member(
    folder: Path,
    requirements: str,
    *,
    python: str = "",
    version: str = "3.11",
    platforms: Sequence[str] = ("linux/amd64",),
) -> Project:
    """A project in `folder`; `python` are further lines of that table."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = 'requirements = ["requirements.in"]' if requirements else ""
    if requirements:
        (folder / "requirements.in").write_text(requirements)
    shown = ", ".join(f'"{one}"' for one in platforms)
    (folder / "lockship.toml").write_text(
        f'name = "demo"\nversion = "1"\n\n[python]\nversion = "{version}"\n{listed}\n{python}\n\n'
        f"[image]\nplatforms = [{shown}]\n"
    )
    return load_project(folder / "lockship.toml")


def written_lock(
    project: Project, wheels: Mapping[str, str], *, debs: Mapping[str, str] | None = None, glibc: str = "2.36"
) -> Lock:
    """Give the project a lock that fits it, with these versions by name; a layer has ten bytes a letter of its name."""
    text = "".join(f"{name}=={version}\n" for name, version in wheels.items())
    (project.root / REQUIREMENTS_FILE).write_text(text)
    artifacts = {
        kind: tuple(_artifact(kind, name, version) for name, version in found.items())
        for kind, found in (("wheel", wheels), ("deb", debs or {}))
    }
    layers = [_layer(one) for group in artifacts.values() for one in group]
    platforms = tuple(
        LockedPlatform(
            platform, f"{project.python.version}.2", glibc, "", artifacts["deb"], artifacts["wheel"], tuple(layers)
        )
        for platform in project.image.platforms
    )
    lock = Lock(project.image.base, fingerprints(project), {REQUIREMENTS_FILE: Digest.of(text.encode())}, {}, platforms)
    lock.write(project.root / LOCK_FILE)
    return lock


def _artifact(kind: str, name: str, version: str) -> Artifact:
    return Artifact(kind, name, version, f"{name}-{version}", _digest(kind, name, version), 1)


def _layer(one: Artifact) -> LockedLayer:
    digest = _digest("layer", one.name, one.version)
    return LockedLayer(one.kind, digest.hex, digest, 10 * len(one.name), digest, (one.name,))


def _digest(*words: str) -> Digest:
    return Digest.of(" ".join(words).encode())
