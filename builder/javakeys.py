"""`[java]` in the project file: jars of a Maven repository, for what runs on the JVM."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from builder.sections import Absolute, Section

__all__ = ["CENTRAL", "JAR_NAME", "JAR_VERSION", "Java"]

CENTRAL: Final = "https://repo.maven.apache.org/maven2"

_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
JAR_NAME: Final = re.compile(rf"{_PART.pattern}(:{_PART.pattern}){{1,2}}")
"""``group:artifact``, with ``:classifier`` where there is one."""
JAR_VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_MOVING: Final = re.compile(r"(?i).*-SNAPSHOT|LATEST|RELEASE")
_RANGE: Final = re.compile(r".*[\[\](),].*")
# Maven would fill in ${env.NAME}, and send what is in it to whatever host stands here: no part of an address.
_ADDRESS: Final = re.compile(
    r"(https://[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*|http://(127\.0\.0\.1|localhost))"
    r"(:(?P<port>[0-9]{1,5}))?(/[^@?#${}\s\x00-\x1f\x7f]*)?"
)


def _coordinates(value: str) -> str:
    group, *rest = value.split(":")
    if len(rest) not in (2, 3):
        raise ValueError(
            'an artifact is written "group:artifact:version", or "group:artifact:version:classifier", with one version'
        )
    if _RANGE.fullmatch(rest[1]):
        raise ValueError("a range of versions is another one tomorrow: name the one that you want")
    if _MOVING.fullmatch(rest[1]):
        raise ValueError("a SNAPSHOT, LATEST or RELEASE is another file tomorrow: name a released version")
    if wrong := [part for part in (group, rest[0], *rest[2:]) if not _PART.fullmatch(part)]:
        raise ValueError(f"{wrong[0]!r} can't be part of a Maven artifact: letters, digits, _ . - stand there")
    if not JAR_VERSION.fullmatch(rest[1]):
        raise ValueError(f"{rest[1]!r} can't be part of a Maven artifact: letters, digits, _ . + - are in a version")
    return value


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError(
            "a Maven repository is an address with https://, without ${…} and without credentials: those belong into "
            "the servers of ~/.m2/settings.xml, and for building into ~/.netrc"
        )
    return value


Coordinates = Annotated[str, AfterValidator(_coordinates)]
RepositoryAddress = Annotated[str, AfterValidator(_address)]


class Java(Section):
    """`[java]`: artifacts that Maven resolves, with everything that they need to run, into jars below `destination`.

    `repositories` are asked before Maven Central.
    """

    artifacts: Annotated[tuple[Coordinates, ...], Field(min_length=1)]
    repositories: tuple[RepositoryAddress, ...] = ()
    destination: Absolute = "/app/lib"

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        seen: dict[tuple[str, ...], str] = {}
        for one in self.artifacts:
            group, artifact, _, *classifier = one.split(":")
            other = seen.setdefault((group, artifact, *classifier), one)
            if other != one:
                raise ValueError(f"artifacts: {other} and {one} are one artifact in two versions; name one of them")
            if self.artifacts.count(one) > 1:
                raise ValueError(f"artifacts: {one} is there twice")
        return self

    @model_validator(mode="after")
    def _in_a_folder_of_its_own(self) -> Self:
        folder = self.folder[1:]
        if re.search(r"[\\\x00-\x1f\x7f]", folder):
            raise ValueError("destination: a folder's name has no backslash and no control character")
        if re.fullmatch(r"(bin|sbin|lib\w*|proc|sys|dev|etc|usr(?!/local/.)|opt/venv|var/lib)?(/.*)?", folder):
            raise ValueError("destination: jars go into a folder of their own, like /app/lib or /opt/jars")
        return self

    @property
    def folder(self) -> str:
        """`destination` in one way of writing it: absolute, without a slash at its end."""
        return "/" + "/".join(part for part in self.destination.split("/") if part not in ("", "."))
