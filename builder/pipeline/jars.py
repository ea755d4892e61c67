"""Jars of Maven repositories: resolved by Maven, locked by the sha256 of the files themselves."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from builder.complaints import line_of
from builder.errors import LockError, LockshipError, ResolutionError, StoreError, UsageError, VerificationError
from builder.javakeys import Java
from builder.lock.file import Lock
from builder.lock.maven import PLUGIN, FoundJar, arguments, file_names, pom, read_listing
from builder.lock.maven_settings import BLOCKED, read_settings, repositories_of
from builder.lock.pins import Artifact
from builder.lock.tools import run_tool
from builder.pipeline.context import Context
from builder.pipeline.maven import find_maven, said
from builder.project import Project

__all__ = ["lock_jars"]

_DECIDES: Final = ("[java] artifacts", "[java] repositories")
_TOOL: Final = "maven"
_NETWORK: Final = re.compile(r"Could not transfer|[Uu]nknown host|[Cc]onnect(ion)? (timed out|refused|reset)")
# Where programs are, how Java is tuned, and what stands between: managers of versions, whose mvn is a script of theirs.
_STARTS: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|LD_LIBRARY_PATH|JAVA_HOME|JAVACMD|JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS|MAVEN_OPTS"
    r"|MAVEN_HOME|M2_HOME|(SDKMAN|ASDF|MISE|JENV|NIX)_\w+"
)
_RUNTIME: Final = re.compile(r"openjdk-\d+-jre-headless|openjdk")


def lock_jars(
    project: Project, context: Context, base: Lock, old: Lock | None, *, upgrade: bool, upgrade_jars: Sequence[str]
) -> Lock:
    """`base` with the jars of `[java]` on every platform, all of them the same; without, where there is no `[java]`.

    What `old` has stays while nothing is asked for that decides it: then no Maven is needed. Raises UsageError for a
    jar to upgrade that isn't locked, LockError without Maven, ResolutionError and StoreError in Maven's words, and
    VerificationError for a file that isn't what its repository says.
    """
    known = () if old is None else old.platforms[0].jars
    if unknown := sorted(set(upgrade_jars) - {one.name for one in known}):
        raise UsageError(f"no jar {unknown[0]} is locked", hint="name one as the lock has it, like com.example:library")
    tools = {name: version for name, version in base.tools.items() if name != _TOOL}
    if project.java is None:
        return replace(base, tools=tools, platforms=tuple(replace(one, jars=()) for one in base.platforms))
    same = old is not None and bool(known) and all(old.inputs.get(key) == base.inputs[key] for key in _DECIDES)
    if old is not None and same and not upgrade and not upgrade_jars:
        jars, version = known, old.tools.get(_TOOL, "")
    else:
        jars, version = _resolve(project, project.java, context)
    jars = tuple(replace(one, folder=project.java.folder) for one in jars)
    for words in _lacking(base):
        context.progress.warn(words)
    platforms = tuple(replace(one, jars=jars) for one in base.platforms)
    return replace(base, tools={**tools, _TOOL: version}, platforms=platforms)


def _lacking(base: Lock) -> Iterator[str]:
    """What a Java program will miss in an image upon this base, as far as packages tell."""
    if base.base_digest is not None:
        return
    for locked in base.platforms[:1]:
        names = {one.name for one in locked.artifacts}
        if not any(_RUNTIME.fullmatch(name) for name in names):
            yield 'the image has jars, but no Java: packages = ["default-jre-headless", "libc-bin"] under [image]'
        elif not locked.conda and "libc-bin" not in names:
            yield "Java will take all text for ASCII: the locale C.UTF-8 is in libc-bin, for `packages` under [image]"


def _resolve(project: Project, java: Java, context: Context) -> tuple[tuple[Artifact, ...], str]:
    """The whole tree, in the cache, and the version of the Maven that resolved it."""
    maven = find_maven(context.environ, compiles=False)
    if maven.obstacle:
        raise LockError(
            f"[java] artifacts are resolved by Maven, and {maven.obstacle}",
            hint="install it (on Debian: apt-get install maven); with the lock written, building needs none",
            file=project.file,
        )
    repositories = repositories_of(java.repositories)
    settings = read_settings(context.environ)
    local = context.cache.root / "maven"
    with tempfile.TemporaryDirectory(prefix="lockship-") as name, context.progress.task("resolving jars", unit="steps"):
        folder = Path(name)  # only its owner can look into it, and a login may be among the settings
        (folder / ".mvn").mkdir()  # where there is none, Maven takes options and extensions from one further up
        (folder / "pom.xml").write_text(pom(java.artifacts, repositories), encoding="utf-8")
        (folder / "settings.xml").write_bytes(settings.render(repositories))
        command = [maven.program, *arguments(folder / "settings.xml", local, folder / "tree")]
        text = _run(project, java, context, folder, command)
        found = read_listing((folder / "tree").read_text(encoding="utf-8"), local)
    jars = _taken(found, context)
    version = re.search(r"^Apache Maven (\S+)", text, re.MULTILINE)
    return jars, f"{version[1] if version else 'unknown'} ({PLUGIN.rpartition(':')[2]})"


def _run(project: Project, java: Java, context: Context, folder: Path, command: Sequence[str]) -> str:
    try:
        outcome = run_tool(command, environ=_environment(context.environ), folder=folder, timeout=None)
    except OSError as error:
        raise LockError(f"cannot start {command[0]}: {error.strerror}") from error
    if outcome.code == 0:
        return outcome.text
    words = said(outcome.text)
    for pattern in (r" -> \[Help \d+\]", r"Failed to execute goal .*?dev\.lockship:lock:pom:1: "):
        words = re.sub(pattern, "", words)
    raise _failure(project, java, words)


def _failure(project: Project, java: Java, words: str) -> LockshipError:
    """What Maven said, as one of our errors: a network that fails is another matter than an artifact that isn't."""
    if _NETWORK.search(words) and BLOCKED not in words:
        return StoreError(
            f"Maven can't reach a repository:\n{words}",
            hint="check the network; mirrors, proxies and logins are read from ~/.m2/settings.xml",
        )
    guilty = next((one for one in java.artifacts if ":".join(one.split(":")[:2]) + ":" in words), "")
    return ResolutionError(
        f"Maven can't resolve [java] artifacts:\n{words}",
        hint='correct the artifact, or name the repository that has it: repositories = ["https://…"] under [java]',
        file=project.file,
        line=line_of(project.file, guilty) if guilty else None,
    )


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Of the user's what Java and Maven are started with, and nothing else.

    The description of any artifact can ask for ``${env.NAME}``: what is needed would depend on it, and secrets would
    end up in addresses. In a locale without UTF-8 Java finds no file with an umlaut in its path.
    """
    kept = {key: value for key, value in environ.items() if _STARTS.fullmatch(key)}
    return kept | {"MAVEN_SKIP_RC": "1", "LC_ALL": "C.UTF-8"}


def _taken(found: Sequence[FoundJar], context: Context) -> tuple[Artifact, ...]:
    """The jars, in the cache."""
    files = file_names(found)
    jars = []
    for one in found:
        try:
            _check(one)
            digest, size = context.cache.adopt(one.path), one.path.stat().st_size
        except OSError as error:
            raise StoreError(f"cannot read {one.path.name}: {error.strerror}", file=one.path) from error
        jars.append(Artifact("jar", one.name, one.version, files[one.name], digest, size))
    return tuple(jars)


def _check(jar: FoundJar) -> None:
    """Maven verifies what it downloads, and not what it finds in its own repository from before."""
    kept = jar.path.with_name(jar.path.name + ".sha1")
    if not kept.is_file():
        return
    with jar.path.open("rb") as file:
        found = hashlib.file_digest(file, "sha1").hexdigest()
    if found not in kept.read_text(encoding="utf-8", errors="replace").lower().split():
        jar.path.unlink()
        raise VerificationError(
            f"{jar.path.name} in the cache is not what its repository has: sha1 {found}",
            hint="the file was removed: run `lockship lock` again to get it anew",
        )
