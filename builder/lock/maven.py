"""Maven's part of locking, but for running it: the project that it resolves, its answer, and where jars are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from builder.errors import LockError, ResolutionError
from builder.javakeys import JAR_NAME, JAR_VERSION
from builder.lock.maven_settings import MavenRepository

__all__ = ["PLUGIN", "FoundJar", "arguments", "file_names", "pom", "read_listing", "repository_path"]

# What lists a resolved tree; another version of it may be asked for by another Maven, so it is named.
PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"

_LINE: Final = re.compile(
    r"([^:\s]+):([^:\s]+):([^:\s]+):(?:([^:\s]+):)?([^:\s]+):(?:compile|runtime)(?: \(optional\))?:(.+?)"
    r"(?: -- module .+)?"
)


@dataclass(frozen=True, slots=True)
class FoundJar:
    """A jar of the tree: `name` is ``group:artifact``, with ``:classifier`` where there is one; `path` is here."""

    name: str
    version: str
    path: Path


def pom(artifacts: Iterable[str], repositories: Iterable[MavenRepository]) -> str:
    """A project that needs `artifacts` (``group:artifact:version[:classifier]``) at run time and does nothing else."""
    lines = ['<project xmlns="http://maven.apache.org/POM/4.0.0">', "<modelVersion>4.0.0</modelVersion>"]
    lines.append("<groupId>dev.lockship</groupId><artifactId>lock</artifactId><version>1</version>")
    lines.append("<packaging>pom</packaging>")
    lines.append("<repositories>")
    for one in repositories:
        kinds = "<snapshots><enabled>false</enabled></snapshots>"
        lines.append(f"<repository><id>{escape(one.id)}</id><url>{escape(one.url)}</url>{kinds}</repository>")
    lines += ["</repositories>", "<dependencies>"]
    for coordinates in artifacts:
        parts = zip(("groupId", "artifactId", "version", "classifier"), coordinates.split(":"), strict=False)
        lines.append("<dependency>" + "".join(f"<{key}>{value}</{key}>" for key, value in parts) + "</dependency>")
    return "\n".join([*lines, "</dependencies>", "</project>", ""])


def arguments(settings: Path, repository: Path, listing: Path) -> list[str]:
    """What Maven is called with, in the folder of the project: nothing of the machine's settings but `settings`.

    What was not found before is looked for again, and a file that isn't what its repository says is an error.
    """
    return [
        "--batch-mode", "--no-transfer-progress", "--show-version", "--update-snapshots", "--strict-checksums",
        "--settings", str(settings), "--global-settings", str(settings), f"-Dmaven.repo.local={repository}",
        "-Dstyle.color=never", f"{PLUGIN}:list", "-DincludeScope=runtime", "-DoutputAbsoluteArtifactFilename=true",
        f"-DoutputFile={listing}",
    ]  # fmt: skip


def read_listing(text: str, repository: Path) -> tuple[FoundJar, ...]:
    """The jars in the plugin's answer, whose files are below `repository`; sorted by name.

    Raises ResolutionError for what can't be locked: a SNAPSHOT, something else than a jar, a name that no lock has.
    What is only a description (``pom``) holds nothing and is passed over.
    """
    found = []
    for line in text.splitlines():
        said = line.strip()
        if said in ("", "none") or said.startswith("The following files have been resolved"):
            continue
        match = _LINE.fullmatch(said)
        if match is None:
            raise LockError(f"Maven's answer isn't understood: {said[:200]}", hint="please report this line")
        group, artifact, kind, classifier, version, path = match.groups()
        if kind == "pom":
            continue
        name = ":".join((group, artifact, *((classifier,) if classifier else ())))
        if version.endswith("-SNAPSHOT"):
            raise ResolutionError(
                f"{name} {version} is a SNAPSHOT, which is another file tomorrow",
                hint="something in [java] artifacts needs it: take a released version of that",
            )
        if not JAR_NAME.fullmatch(name) or not JAR_VERSION.fullmatch(version):
            raise ResolutionError(
                f"{name} {version}: a lock has no such names: letters, digits, _ . - (and + in versions) stand there",
                hint="something in [java] artifacts needs it: `mvn dependency:tree` says what",
            )
        jar = FoundJar(name, version, Path(path))
        if jar.path != repository / repository_path(name, version):
            raise ResolutionError(
                f"{name} {version} is {jar.path.name} ({kind}), and only jars can be locked",
                hint="something in [java] artifacts needs it: `mvn dependency:tree` says what",
            )
        found.append(jar)
    return tuple(sorted(found, key=lambda one: one.name))


def repository_path(name: str, version: str) -> str:
    """Where a jar is in a repository (Maven, "Repository Layout"); `name` as `FoundJar` has it."""
    group, artifact, *classifier = name.split(":")
    return f"{group.replace('.', '/')}/{artifact}/{version}/{'-'.join((artifact, version, *classifier))}.jar"


def file_names(jars: Sequence[FoundJar]) -> dict[str, str]:
    """The file of each jar, by its name: as the repository has it; where two have one, their groups stand before it.

    Raises ResolutionError for two that have one even so.
    """
    plain = {one.name: one.path.name for one in jars}
    count = Counter(plain.values())
    found = {name: file if count[file] == 1 else f"{name.partition(':')[0]}.{file}" for name, file in plain.items()}
    owners: dict[str, str] = {}
    for name, file in found.items():
        if (other := owners.setdefault(file, name)) != name:
            raise ResolutionError(
                f"{other} and {name} would both be {file} in the image",
                hint="take another version of what needs one of them: `mvn dependency:tree` says what",
            )
    return found
