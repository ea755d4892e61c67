"""What a folder holds, as findings; the project file that says them."""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder import git
from builder.errors import LockshipError, ProjectError, RefusedError
from builder.files import write_file
from builder.init import code
from builder.init.reading import names_in, sayable, table, text
from builder.init.requirements import R_NEEDS, Conda, Requirements
from builder.project import PROJECT_FILE, Model
from builder.templating import render as render_template

__all__ = ["Findings", "inspect", "render", "write"]

# Debian suites and the Python each ships.
_BASES: Final = {"3.11": "debian:bookworm", "3.13": "debian:trixie"}
_USUAL: Final = "3.11"


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a folder; every path is relative to it, with forward slashes.

    A `version` of None stands for ``{ git = true }``. With `conda`, an environment file, there are no requirements.
    `system` are Debian packages that the environment calls for. `files` are pairs of source and target in the image
    (None for the usual place). The ``other_…`` fields are what was found and not chosen, for comments. `generated` are
    files to write beside the project file, by name. `notes` are for the person who runs this, one sentence each.
    """

    name: str
    version: str | None = "0.1.0"
    python: str = "3.11"
    python_reason: str = ""
    base: str = "debian:bookworm"
    conda: str = ""
    system: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    other_requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    files: tuple[tuple[str, str | None], ...] = ()
    command: tuple[str, ...] = ("python",)
    other_commands: tuple[tuple[str, ...], ...] = ()
    model: str | None = None
    other_models: tuple[str, ...] = ()
    generated: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def model_target(self) -> str | None:
        """Where the image has the model: as it is, or converted."""
        return None if self.model is None else Model(source=self.model).destination(self.name)

    @property
    def converts(self) -> bool:
        """Whether the model is one that `lockship convert` turns into ONNX."""
        return self.model is not None and Model(source=self.model).is_converted


def inspect(folder: Path, environ: Mapping[str, str]) -> Findings:
    """Look at `folder`; `environ` is git's.

    Raises ProjectError when it is no folder, RefusedError when it is a project already.
    """
    if not folder.is_dir():
        raise ProjectError(f"no such folder: {folder}", hint="name the folder that is to become a project")
    if os.path.lexists(folder / PROJECT_FILE):
        raise RefusedError(
            "is there already", hint="change that file, or move it away first", file=folder / PROJECT_FILE
        )
    notes: list[str] = []
    pyproject = _pyproject(folder, notes)
    if "lockship" in table(pyproject, "tool"):
        raise RefusedError(
            "pyproject.toml has a [tool.lockship] table already",
            hint="change that table, or take it out first",
            file=folder / "pyproject.toml",
        )
    metadata = table(pyproject, "project")
    conda = Conda.read(folder)
    requirements = Requirements.find(folder, pyproject, conda)
    notes += requirements.notes
    # an environment brings its own
    python, reason = (_USUAL, "") if requirements.conda else _python(folder, metadata, conda, notes)
    packages = code.packages(folder)
    modules = code.modules(folder)
    commands = code.commands(folder, packages, modules, table(metadata, "scripts"))
    has_r = bool(requirements.conda) and conda.has_r
    scripts = code.r_scripts(folder) if has_r else ()
    commands += [("Rscript", name) for name in scripts]
    models = code.models(folder)
    return Findings(
        name=_name(folder, metadata, environ),
        version=_version(folder, metadata, environ, notes),
        python=python,
        python_reason=reason,
        base=_BASES[python],
        conda=requirements.conda,
        system=R_NEEDS if has_r else (),
        requirements=requirements.chosen,
        other_requirements=requirements.others,
        extras=tuple(sorted(str(extra) for extra in table(metadata, "optional-dependencies") if sayable(str(extra)))),
        constraints=tuple(name for name in names_in(folder) if re.fullmatch(r"constraints.*\.txt", name)),
        left_out=() if requirements.conda else conda.packages,
        files=packages + tuple((name, None) for name in sorted((*modules, *scripts))),
        command=commands[0] if commands else ("python",),
        other_commands=tuple(commands[1:]),
        model=models[0] if models else None,
        other_models=tuple(models[1:9]),
        generated=requirements.generated,
        notes=tuple(notes),
    )


def render(findings: Findings) -> str:
    """The commented project file, TOML."""
    return render_template("lockship.toml.j2", {"found": findings})


def write(folder: Path, findings: Findings) -> tuple[Path, ...]:
    """Write the project file and what `findings` generates; the paths.

    Raises RefusedError when one of them is there, ProjectError when the folder can't be written.
    """
    texts = [*findings.generated, (PROJECT_FILE, render(findings))]
    for name, _ in texts:
        if os.path.lexists(folder / name):
            raise RefusedError("is there already", hint="change that file, or move it away first", file=folder / name)
    try:
        for name, text in texts:
            write_file(folder / name, text.encode())
    except OSError as error:
        raise ProjectError(f"cannot write: {error.strerror}", file=folder) from error
    return tuple(folder / name for name, _ in texts)


def _pyproject(folder: Path, notes: list[str]) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text(folder / "pyproject.toml"))
    except tomllib.TOMLDecodeError as error:
        notes.append(f"pyproject.toml is not valid TOML and was not looked at: {error}")
        return {}


# name and version


def _name(folder: Path, metadata: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """pyproject's, else the repository's if this folder is its root, else the folder's."""
    candidates = [metadata.get("name")]
    if (folder / ".git").exists():
        try:
            found = git.checkout(folder, environ)
        except LockshipError:
            found = None
        if found is not None and found.source is not None:
            candidates.append(found.source.rpartition("/")[2])
    candidates.append(folder.absolute().name)
    return next((name for one in candidates if isinstance(one, str) and (name := _as_name(one))), "project")


def _as_name(text: str) -> str:
    """`text` by the rules of image names: lower-case words of letters and digits, joined by single hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall(r"[a-z0-9]+", plain))[:100].strip("-")


def _version(folder: Path, metadata: Mapping[str, Any], environ: Mapping[str, str], notes: list[str]) -> str | None:
    """None, for git's, when a tag that looks like a version leads here; else pyproject's; else 0.1.0."""
    try:
        if git.checkout(folder, environ) is not None and re.match(r"\d+\.\d+", git.describe(folder, environ)):
            return None
    except LockshipError as error:
        if "no tag" not in error.message:
            notes.append(f"{error.message}: the version is not taken from git")
    written = metadata.get("version")
    if isinstance(written, str) and re.fullmatch(r"[0-9][A-Za-z0-9._-]{0,127}", written):
        return written
    return "0.1.0"


# Python


def _python(folder: Path, metadata: Mapping[str, Any], conda: Conda, notes: list[str]) -> tuple[str, str]:
    """The Python of a Debian suite that suits the folder, and why."""
    asked = re.search(r"(?m)^\s*(?:cpython-)?(3\.\d+)", text(folder / ".python-version"))
    requires = metadata.get("requires-python")
    if asked:
        wanted, reason = asked[1], f".python-version says {asked[1]}"
    elif isinstance(requires, str) and (suits := _suiting(requires)) is not None:
        return suits, f"requires-python = {requires}" if requires.isprintable() else ""
    elif conda.python:
        wanted, reason = conda.python, f"{conda.file} says {conda.python}"
    else:
        return _USUAL, ""
    if wanted in _BASES:
        return wanted, reason
    # code for an older Python mostly runs on a newer one, hardly ever the other way round
    newer = [version for version in _BASES if int(version[2:]) >= int(wanted[2:])]
    chosen = newer[0] if newer else list(_BASES)[-1]
    shipped = " and ".join(f"{version} ({base})" for version, base in _BASES.items())
    notes.append(f"{reason}, but Debian ships {shipped}: {chosen} was chosen, check that it does")
    return chosen, f"{reason}; Debian ships {shipped}"


def _suiting(requires: str) -> str | None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        specifiers = SpecifierSet(requires)
    except InvalidSpecifier:
        return None
    return next((version for version in _BASES if specifiers.contains(f"{version}.2")), None)
