"""Which files of a folder say what it requires: pip's files, pyproject.toml, an environment.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.init.reading import names_in, subfolders, table, text

__all__ = ["R_NEEDS", "Conda", "Requirements"]

R_NEEDS: Final = ("bash", "coreutils", "dash", "debianutils", "libc-bin", "sed")
"""Debian packages with the programs that R calls, which no environment brings."""

_FOR_DEVELOPERS: Final = re.compile(
    r"(^|[-_./])(dev|devel|develop|test|tests|doc|docs|lint|ci|train|training)([-_./]|$)"
)


@dataclass(frozen=True, slots=True)
class Conda:
    """An environment.yml: its Python, its conda packages, whether R is among them, and the lines of its pip section."""

    file: str = ""
    python: str = ""
    packages: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    has_r: bool = False

    @classmethod
    def read(cls, folder: Path) -> Conda:
        """The first environment.yml of `folder`; all empty without one.

        Not a YAML parser: it reads the two lists as conda writes them and as people copy them.
        """
        file = next((name for name in names_in(folder) if re.fullmatch(r"(conda-)?environment\.ya?ml", name)), "")
        packages: list[str] = []
        pip: list[str] = []
        inside = False
        pip_indent: int | None = None
        for line in text(folder / file).splitlines() if file else ():
            item = re.match(r"(\s*)-\s+(.*?)\s*(?:\s#.*)?$", line)
            if re.match(r"[^\s#-]", line):
                inside = line.startswith("dependencies:")
                pip_indent = None
                if flow := re.match(r"dependencies:\s*\[([^{}\[\]]*)\]", line):
                    packages += [value.strip(" '\"") for value in flow[1].split(",")]
            elif inside and item:
                indent, value = len(item[1]), item[2].strip("'\"")
                if pip_indent is not None and indent > pip_indent:
                    pip.append(value)
                elif value == "pip:":
                    pip_indent = indent
                else:
                    pip_indent = None
                    packages.append(value)
        named = [(re.split(r"[\s=<>!~\[]", value.rpartition("::")[2])[0], value) for value in packages]
        python = re.search(r"3\.\d+", next((value for name, value in named if name == "python"), ""))
        return cls(
            file,
            python[0] if python else "",
            tuple(value for name, value in named if name not in ("python", "pip", "") and value.isprintable()),
            tuple(value for value in pip if value.isprintable()),
            any(name.startswith("r-") for name, _ in named),
        )


@dataclass(frozen=True, slots=True)
class Requirements:
    """Which requirements are locked, which were seen and left, what is written to hold the rest, what to say.

    `conda` is the environment file that is locked instead; empty when there are requirements.
    """

    chosen: tuple[str, ...]
    others: tuple[str, ...]
    generated: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    conda: str = ""

    @classmethod
    def find(cls, folder: Path, pyproject: Mapping[str, Any], conda: Conda) -> Requirements:
        """requirements.in, else what pyproject.toml declares, else what is closest to them, else the environment."""
        seen = _files(folder)
        # beside a .in, the .txt of that name is what pip-compile made of it
        sources = [name for name in seen if not (name.endswith(".txt") and name[:-4] + ".in" in seen)]
        candidates = sorted((name for name in sources if not _FOR_DEVELOPERS.search(name.lower())), key=_rank)
        metadata = table(pyproject, "project")
        if isinstance(metadata.get("dependencies"), list) and metadata["dependencies"]:
            candidates.insert(1 if candidates[:1] == ["requirements.in"] else 0, "pyproject.toml")
        notes = []
        if "poetry" in table(pyproject, "tool") and "dependencies" not in metadata:
            notes.append("[tool.poetry.dependencies] is not read: list them under [project] or in requirements.in")
        generated: tuple[tuple[str, str], ...] = ()
        if conda.packages and not candidates:
            notes.append(f"{conda.file} is locked as a conda environment, which takes pip install 'lockship[conda]'")
            return cls((), tuple(seen), (), tuple(notes), conda.file)
        if not candidates and (lines := [line for line in conda.pip if _portable(line)]):
            body = "".join(f"{line}\n" for line in lines)
            generated = (("requirements.in", f"# from the pip section of {conda.file}\n{body}"),)
            notes.append(f"requirements.in was written from the pip section of {conda.file}")
            candidates = ["requirements.in"]
        if conda.packages:
            listed = ", ".join(conda.packages)
            notes.append(
                f"{conda.file}: its conda packages are left out: {listed}; to have them all, write "
                f'conda = "{conda.file}" under [python] instead of requirements'
            )
        elif not candidates:
            notes.append("no requirements were found: list them in requirements.in and name it under [python]")
        others = candidates[1:] + [name for name in seen if name not in candidates]
        return cls(tuple(candidates[:1]), tuple(others), generated, tuple(notes))


def _files(folder: Path) -> list[str]:
    """``requirements*.in`` and ``.txt``, at the top and in a folder of that name."""
    found = [name for name in names_in(folder) if re.fullmatch(r"requirements.*\.(in|txt)", name)]
    if "requirements" in subfolders(folder):
        found += [
            f"requirements/{name}" for name in names_in(folder / "requirements") if name.endswith((".in", ".txt"))
        ]
    return [name for name in found if (folder / name).is_file()]


def _rank(name: str) -> tuple[int, str]:
    """Files that hold what production needs come first, .in before .txt."""
    stem, _, ending = name.rpartition(".")
    usual = ("requirements", "requirements/base", "requirements/main", "requirements/prod", "requirements/production")
    return (usual.index(stem) if stem in usual else len(usual)) * 2 + (ending == "txt"), name


def _portable(line: str) -> bool:
    """Requirements and other files; options that name indexes belong to the machine, and may hold credentials."""
    return not line.startswith("-") or line.startswith(("-r ", "-c "))
