"""What a worker is told, as plain values: enough to make one layer, or to finish one image. Never a credential.

Logins in addresses are left out (variables like ``${TOKEN}`` stay, for the worker's own environment to fill), and no
folder of this machine is named but where the project says so: `--find-links`, `[image] snapshot`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from builder.cache import Cache
from builder.content import Digest
from builder.datakeys import is_secret
from builder.errors import ArtifactError, LockshipError
from builder.image.index import Plan
from builder.javakeys import Java
from builder.layers.recipe import Layer, Part, Recipe
from builder.lock.file import CONDA_FILE, REQUIREMENTS_FILE, Lock, LockedPlatform
from builder.lock.pins import Artifact
from builder.models.artifact import ModelArtifact
from builder.network import without_login
from builder.pipeline.context import Context
from builder.pipeline.making import interpreter_debs
from builder.pipeline.planning import Prepared
from builder.project import Image, Project, Python, Source, StoreSection
from builder.registry.reference import Repository

__all__ = ["LayerErrand", "SealErrand", "Target", "layer_errand", "locations_of", "seal_errand"]

_OPTIONS_FILE: Final = "index-options.in"  # what the project's requirement files say about indexes, and nothing else
_PROJECT_FILE: Final = "lockship.toml"
_VARIABLE: Final = re.compile(r"\$\{[A-Z0-9_]+\}")


@dataclass(frozen=True, slots=True)
class Target:
    """The repository that a layer or an image is for, and those on its registry that have layers to lend."""

    repository: Repository
    shared: tuple[Repository, ...] = ()
    plain_http: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerErrand:
    """One layer to be made; with `recipes`, `lock` and `sources` cut down to what that takes.

    `project` says where packages come from, `files` are those that it names, by their path in it; `locations` where
    debs were just seen, which saves each worker reading a whole archive's index for one of them.
    """

    layer: Layer
    target: Target
    project: Project
    files: Mapping[str, bytes]
    lock: Lock
    recipes: Mapping[Digest, Recipe]
    sources: Mapping[Digest, Repository]
    locations: Mapping[Digest, str]

    @contextmanager
    def laid_out(self, cache: Cache) -> Iterator[LayerErrand]:
        """The same errand with its project's files on this machine's disk, for as long as the context lasts."""
        with cache.passing() as passing:
            folder = passing.root
            for name, data in self.files.items():
                (folder / name).write_bytes(data)
            project = self.project.model_copy(update={"root": folder, "file": folder / _PROJECT_FILE})
            yield replace(self, project=project)


@dataclass(frozen=True, slots=True)
class SealErrand:
    """An image to be finished: what the store must have, and what is put on top of it."""

    plan: Plan
    models: tuple[ModelArtifact, ...]
    target: Target


def seal_errand(prepared: Prepared, models: tuple[ModelArtifact, ...], target: Target) -> SealErrand:
    """What finishing `prepared` takes: manifests, and no file of this machine."""
    return SealErrand(prepared.plan, tuple(replace(one, files={}) for one in models), target)


def layer_errand(prepared: Prepared, layer: Layer, target: Target, locations: Mapping[Digest, str]) -> LayerErrand:
    """What making `layer` takes, of all that `prepared` knows. Raises ArtifactError for a file that can't be read."""
    recipe = prepared.recipes.get(layer.digest)
    source = prepared.sources.get(layer.digest)
    lock = prepared.lock if recipe is None else _narrowed(prepared.lock, recipe)
    project, files = _provisions(prepared.project, lock)
    debs = [one.digest for locked in lock.platforms for one in locked.debs]
    debs += [one.digest for others in lock.interpreters.values() for one in others]
    return LayerErrand(
        layer,
        target,
        project,
        files,
        lock,
        {} if recipe is None else {layer.digest: recipe},
        {} if source is None else {layer.digest: source},
        {digest: _public(locations[digest]) for digest in debs if digest in locations},
    )


def locations_of(prepared: Prepared, layers: Sequence[Layer], context: Context) -> dict[Digest, str]:
    """Where the debs of `layers` are, as this machine's repositories say; what they don't is left to the workers."""
    wanted = {part.artifact for layer in layers for part in _parts(prepared, layer) if part.kind == "deb"}
    found: dict[Digest, str] = {}
    for locked in prepared.lock.platforms:
        if debs := [one for one in locked.debs if one.digest in wanted]:
            from builder.lock.fetch_debs import locate_debs  # apt: only where debs are missing

            with suppress(LockshipError):  # without apt, say, or where only workers reach the archive
                found |= locate_debs(
                    debs,
                    prepared.project.image,
                    locked.platform,
                    root=prepared.project.root,
                    environ=context.environ,
                    progress=context.progress,
                )
    return found


def _parts(prepared: Prepared, layer: Layer) -> tuple[Part, ...]:
    recipe = prepared.recipes.get(layer.digest)
    return () if recipe is None else recipe.parts


def _narrowed(lock: Lock, recipe: Recipe) -> Lock:
    """What of `lock` concerns one recipe: its artifacts and, where it compiles, the base's python."""
    needed = {part.artifact for part in recipe.parts}
    compiles = any("bytecode" in part.params for part in recipe.parts)

    def narrowed(locked: LockedPlatform) -> LockedPlatform:
        python = {one.digest for one in interpreter_debs(locked.debs)} if compiles else set[Digest]()

        def chosen(artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
            return tuple(one for one in artifacts if one.digest in needed or one.digest in python)

        return replace(
            locked,
            debs=chosen(locked.debs),
            wheels=chosen(locked.wheels),
            conda=chosen(locked.conda),
            jars=chosen(locked.jars),
            layers=(),
        )

    return replace(
        lock,
        inputs={},
        outputs={},
        tools={},
        platforms=tuple(narrowed(one) for one in lock.platforms),
        interpreters=lock.interpreters if compiles else {},
    )


def _provisions(project: Project, lock: Lock) -> tuple[Project, dict[str, bytes]]:
    """The project as far as fetching the artifacts of `lock` needs it, and the files for that."""
    wheels = [one for locked in lock.platforms for one in locked.wheels]
    files: dict[str, bytes] = {}
    if wheels:
        files[_OPTIONS_FILE] = _index_options(project).encode()
    if any(one.built_from for one in wheels):
        files[REQUIREMENTS_FILE] = _read(project.path(REQUIREMENTS_FILE))
    if any(locked.conda for locked in lock.platforms):
        files[CONDA_FILE] = _read(project.path(CONDA_FILE))
    sources: tuple[Source, ...] = ()
    if any(locked.debs for locked in lock.platforms) or lock.interpreters:
        sources = tuple(_source(project, source, number, files) for number, source in enumerate(project.image.sources))
    python = Python(version=project.python.version, requirements=(_OPTIONS_FILE,) if wheels else ())
    image = Image(
        base=project.image.base,
        platforms=project.image.platforms,
        sources=sources,
        snapshot=_snapshot(project),
    )
    store = StoreSection(repository=project.store.repository)
    reduced = Project(
        name=project.name,
        version=str(project.version),
        python=python.model_copy(update={"allow_build": project.python.allow_build}),
        image=image,
        java=_java(project),
        store=store.model_copy(update={"plain_http": project.store.plain_http}),
    )
    return reduced, files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", file=path, hint="run `lockship lock`") from error


def _index_options(project: Project) -> str:
    """What the requirement files say about indexes, as lines of such a file; variables are not filled in."""
    from builder.lock.inputs import read_inputs

    found = read_inputs(project, {}, expand=False).options
    lines = [("--index-url", found.index)] if found.index is not None else []
    lines += [("--extra-index-url", url) for url in found.extra]
    lines += [("--find-links", link) for link in found.links]
    words = [f"{option} {shlex.quote(_public(value or ''))}" for option, value in lines]
    words += [f"--trusted-host {shlex.quote(host)}" for host in found.trusted]
    return "".join(f"{line}\n" for line in [*words, *(["--no-index"] if found.no_index else [])])


def _public(address: str) -> str:
    """`address` without passwords and signatures that are written into it; variables are the worker's matter."""
    address, mark, query = address.partition("?")
    kept = "&".join(pair for pair in query.split("&") if not _tells(*pair.partition("=")[::2]))
    return _without_password(address) + (mark + kept if kept else "")


def _tells(name: str, value: str) -> bool:
    """Whether a parameter of an address is a key or a signature, written out."""
    return is_secret(unquote(name)) and not _VARIABLE.fullmatch(value)


def _without_password(address: str) -> str:
    if "@" not in address or "://" not in address:
        return address
    login = urlsplit(address).netloc.rpartition("@")[0]
    user, colon, password = login.partition(":")
    return address if _VARIABLE.fullmatch(password if colon else user) else without_login(address)


def _source(project: Project, source: Source, number: int, files: dict[str, bytes]) -> Source:
    """One of `[[image.sources]]`, its keyring among `files`."""
    keyring = None
    if source.keyring is not None:
        path = project.root / Path(source.keyring).expanduser()
        keyring = f"keyring-{number}{path.suffix}"
        files[keyring] = _read(path)
    return source.model_copy(update={"uri": _public(source.uri), "keyring": keyring})


def _java(project: Project) -> Java | None:
    """`[java]` as far as it says where jars are."""
    if project.java is None:
        return None
    return project.java.model_copy(update={"repositories": tuple(_public(one) for one in project.java.repositories)})


def _snapshot(project: Project) -> str | None:
    """`[image] snapshot`; a folder by its whole path, which workers have where they share the disk."""
    snapshot = project.image.snapshot
    if snapshot is None or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", snapshot):
        return None if snapshot is None else _public(snapshot)
    return str((project.root / snapshot).absolute())
