"""The project as a Dockerfile, for teams whose rules say ``docker build``: the same lock, base, files and settings.

What `write_context` leaves is all that ``docker build`` needs, so that a build reads nothing else of this machine. The
result runs like the image that `lockship build` makes; it isn't the same to the byte, because pip installs it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.cache import storage_error
from builder.content import Digest
from builder.errors import ProjectError
from builder.files import replaced_folder
from builder.image.config import NOTHING, Facts, Inherited, entrypoint, environment, labels, user
from builder.layers import tar
from builder.layers.gzip import content_of
from builder.layers.recipe import Layer
from builder.project import Project
from builder.templating import render

__all__ = ["PIP", "BaseFrom", "base_archives", "render_dockerfile", "write_context"]

# The pip that installs: its wheel's file name and digest, so that the same one runs everywhere.
PIP: Final = (
    "pip-26.3-py3-none-any.whl",
    Digest.from_hex("f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"),
)

_MARK: Final = "# Written by `lockship export dockerfile`"


@dataclass(frozen=True, slots=True)
class BaseFrom:
    """A base that is an image: its name with the manifest's digest, its python, whether it has an /opt/venv of its own,
    and what it passes on.
    """

    reference: str
    interpreter: str
    owns_venv: bool
    inherited: Inherited


def base_archives(layers: Sequence[Layer]) -> dict[str, Layer]:
    """File names for the layers of a base, in the order in which they are unpacked; each holds its layer's digest."""
    return {f"{number:02}-{layer.kind}-{layer.digest.hex}.tar.gz": layer for number, layer in enumerate(layers)}


def render_dockerfile(
    project: Project,
    facts: Facts,
    *,
    base: Sequence[str],
    python: str,
    wheels: bool = True,
    files: bool = True,
    image_base: BaseFrom | None = None,
) -> str:
    """The Dockerfile for a folder that `write_context` fills.

    `base` are the names of the base's layers (`base_archives`), lowest first. With `wheels` pip installs from the
    folder ``wheels`` and needs no network, else from the index that the build configures (PIP_INDEX_URL). `files`
    says whether there are any. With `image_base`, the image stands upon that one instead. Raises ProjectError for
    values that a Dockerfile can't say.
    """
    image = project.image
    interpreter = "python" + ".".join(python.split(".")[:2])
    inherited = NOTHING if image_base is None else image_base.inherited
    values = {
        "title": f"{facts.name} {facts.version}",
        "tag": f"{facts.name}:{facts.version}",
        "base": json.dumps([*(f"base/{name}" for name in base), "/"]),
        "pip_wheel": PIP[0],
        "wheels": wheels,
        "files": files,
        "from": None if image_base is None else image_base.reference,
        "owns_venv": image_base is not None and image_base.owns_venv,
        "interpreter": interpreter if image_base is None else image_base.interpreter,
        "install": json.dumps(_install(project, wheels=wheels)),
        "environment": _pairs(environment(project, inherited), project),
        "labels": _pairs(labels(project, facts, python, inherited), project),
        "workdir": _word(image.workdir, project),
        "ports": sorted(image.ports),
        "user": user(project, inherited),
        "entrypoint": json.dumps(entrypoint(project, inherited), ensure_ascii=False),
        "command": json.dumps(image.command, ensure_ascii=False),
    }
    return render("Dockerfile.j2", values)


def write_context(
    folder: Path,
    dockerfile: str,
    *,
    requirements: bytes,
    pip: Path,
    base: Mapping[str, Path],
    wheels: Mapping[str, Path],
    entries: Iterable[tar.Entry],
) -> None:
    """Fill `folder`: Dockerfile, requirements.lock, pip's wheel, ``base`` and ``wheels`` by file name, the code.

    All or nothing: an earlier export is replaced, anything else is refused (RefusedError).
    """
    try:
        with replaced_folder(folder, _is_ours) as fresh:
            _write(fresh / "Dockerfile", dockerfile.encode())
            _write(fresh / "requirements.lock", requirements)
            _copy(pip, fresh / PIP[0])
            for name, path in sorted(base.items()):
                _copy(path, fresh / "base" / name)
            for name, path in sorted(wheels.items()):
                _copy(path, fresh / "wheels" / name)
            for entry in entries:
                _place(entry, fresh / "files" / entry.path)
    except OSError as error:
        raise storage_error(error, folder, "write") from error


def _install(project: Project, *, wheels: bool) -> list[str]:
    command = ["/opt/venv/bin/python", f"/build/{PIP[0]}/pip", "install", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore"]
    command += ["--compile" if project.python.bytecode else "--no-compile"]
    if wheels:
        command += ["--no-index", "--find-links=/build/wheels"]
    return [*command, "--requirement=/build/requirements.lock"]


def _pairs(values: Mapping[str, str], project: Project) -> str:
    """``KEY="value"`` pairs as ENV and LABEL take them, one per line."""
    return " \\\n    ".join(f"{_key(key, project)}={_word(value, project)}" for key, value in values.items())


def _key(key: str, project: Project) -> str:
    return key if key.replace("_", "").replace(".", "").replace("-", "").isalnum() else _word(key, project)


def _word(value: str, project: Project) -> str:
    """A double-quoted word in which nothing is expanded (Dockerfile reference, "Environment replacement")."""
    if "\n" in value or "\r" in value or "\0" in value:
        raise ProjectError(
            f"{value[:40]!r}: a Dockerfile can't hold a line break in a value",
            hint="keep such a value in a file",
            file=project.display,
        )
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        return (folder / "Dockerfile").read_text(errors="replace").startswith(_MARK)
    except OSError:
        return not any(folder.iterdir())


def _folder(path: Path) -> None:
    """A folder, and those above it in the context, that the engine can pass whatever the umask."""
    if path.is_dir():
        return
    _folder(path.parent)
    path.mkdir()
    path.chmod(0o755)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o644)


def _copy(source: Path, target: Path) -> None:
    _folder(target.parent)
    shutil.copyfile(source, target)
    target.chmod(0o644)


def _place(entry: tar.Entry, path: Path) -> None:
    """One entry of a layer as a file of this machine."""
    _folder(path if entry.kind is tar.Kind.DIRECTORY else path.parent)
    if entry.kind is tar.Kind.DIRECTORY:
        path.chmod(entry.mode)
    elif entry.kind is tar.Kind.SYMLINK:
        path.symlink_to(entry.link)
    else:
        with path.open("wb") as file:
            for chunk in content_of(entry):
                file.write(chunk)
        path.chmod(entry.mode)
