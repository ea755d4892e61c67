"""Project to lock: resolve, fetch, compute the layers, write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from builder.content import Digest, Platform
from builder.errors import LockshipError, ProjectError, StaleLockError, StoreError
from builder.files import write_file
from builder.layers.recipe import Layer, Recipe
from builder.lock import debian, indexes, python, requirements
from builder.lock.base import names_of, reference_of
from builder.lock.fetch import lock_wheels
from builder.lock.file import (
    CONDA_FILE,
    LOCK_FILE,
    REQUIREMENTS_FILE,
    Change,
    Lock,
    LockedLayer,
    LockedPlatform,
    changes,
    read_lock,
)
from builder.lock.pins import Artifact, Target
from builder.lock.runtime import needed_at_runtime
from builder.pipeline.checking import fingerprints, output_file, refuse_moved
from builder.pipeline.context import Context
from builder.pipeline.fetching import fetch_missing_debs, fetch_missing_jars
from builder.pipeline.making import interpreter_for, refuse_clashes
from builder.pipeline.recipes import is_current, wheel_and_deb_recipes
from builder.progress import Task
from builder.project import Project
from builder.work import make_all

__all__ = ["LockReport", "lock"]

_T = TypeVar("_T")
_COMPILE_HOSTS: Final = (Platform("linux", "amd64"), Platform("linux", "arm64"))


@dataclass(frozen=True, slots=True)
class LockReport:
    """What locking did: the lock, what moved, and whether anything was written."""

    lock: Lock
    changes: tuple[Change, ...]
    written: bool


def lock(
    project: Project, context: Context, *, upgrade: bool = False, upgrade_packages: Sequence[str] = ()
) -> LockReport:
    """Resolve what has to be resolved, with the least change, and write `lockship.lock` and the file that it binds.

    That is `requirements.lock`, or `conda-lock.yml` for a conda environment.

    With nothing moved and nothing to upgrade, nothing is done. Raises ResolutionError, ArtifactError, StoreError or
    VerificationError; then neither file was touched.
    """
    old = _previous(project, context)
    if old is not None and not upgrade and not upgrade_packages and _is_fresh(project, old):
        return LockReport(old, (), False)
    context.cache.require_writable()
    facts = fingerprints(project)
    base, seen = _lock_base(project, context, old, facts, upgrade=upgrade, upgrade_packages=upgrade_packages)
    images = names_of(project.image.base) if base.base_digest else frozenset()
    jars = [name for name in upgrade_packages if ":" in name and "/" not in name and name not in images]
    others = [name for name in upgrade_packages if name not in jars]
    new, text = _lock_python(project, context, replace(base, inputs=facts), upgrade, others)
    if project.java is not None or jars or any(one.jars for one in new.platforms):
        from builder.pipeline.jars import lock_jars  # what only [java] needs

        new = lock_jars(project, context, new, old, upgrade=upgrade, upgrade_jars=jars)
    new = _lock_layers(project, context, new, old, seen)
    _write(project, new, text)
    return LockReport(new, changes(old, new), True)


def _write(project: Project, new: Lock, text: str | None) -> None:
    """The requirements first: a lock that names others than are there counts as stale, and is never believed."""
    try:
        if text is not None:
            write_file(project.path(output_file(project)), text.encode())
        new.write(project.path(LOCK_FILE))
    except OSError as error:
        raise StoreError(
            f"cannot write the lock: {error.strerror or error}",
            hint="the project's folder must be writable and the disk not full; then run `lockship lock` again",
            file=error.filename2 or error.filename or project.path(LOCK_FILE),
        ) from error


def _existing(path: Path) -> str | None:
    """The standard file that is there, which pins what stays."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ProjectError("is not UTF-8", file=path, hint="remove it: `lockship lock` writes it anew") from error
    except OSError as error:
        raise ProjectError(
            f"cannot read: {error.strerror}", file=path, hint="remove it, or make it readable"
        ) from error


def _is_fresh(project: Project, old: Lock) -> bool:
    try:
        refuse_moved(project, old)
    except StaleLockError:
        return False
    return all(is_current(locked) for locked in old.platforms)


def _previous(project: Project, context: Context) -> Lock | None:
    try:
        return read_lock(project.path(LOCK_FILE))
    except StaleLockError as error:
        context.progress.warn(f"{error.file} {error.message}; locking from the beginning")
        return None


def _lock_base(
    project: Project,
    context: Context,
    old: Lock | None,
    facts: Mapping[str, Digest],
    *,
    upgrade: bool,
    upgrade_packages: Sequence[str],
) -> tuple[Lock, Mapping[Digest, str]]:
    """A lock with the base for every platform and nothing of Python yet, and where each deb was just seen."""
    reference = reference_of(project.image.base, file=project.file)
    if reference is None:
        debian.suite_of(project.image.base, file=project.file)
    if project.python.conda:
        from builder.pipeline.condas import refuse_misfits

        refuse_misfits(project, image_base=reference is not None)
    decides = [key for key in facts if key.startswith("[image] ")] + ["[python] version", "[python] bytecode"]
    same = old is not None and not upgrade and all(old.inputs.get(key) == facts[key] for key in decides)
    same = same and old is not None and ("[python] conda" in old.inputs) == bool(project.python.conda)
    if old is not None and same and not _names(old) & set(upgrade_packages):
        return old, {}
    if reference is not None:
        from builder.pipeline.bases import lock_image  # heavy, and most bases are put together from packages

        anew = upgrade or bool(names_of(project.image.base) & set(upgrade_packages))
        return lock_image(project, context, reference, old, facts, upgrade=anew), {}
    keep = {} if old is None or upgrade else {locked.platform: locked.debs for locked in old.platforms}
    compiled = project.python.bytecode and not project.python.conda
    others = [one for one in _COMPILE_HOSTS if one not in project.image.platforms] if compiled else []

    def resolve(platform: Platform) -> debian.Base:
        kept = [one for one in keep.get(platform, ()) if one.name not in upgrade_packages]
        return debian.resolve_base(
            project.image,
            "" if project.python.conda else project.python.version,
            platform,
            root=project.root,
            environ=context.environ,
            keep=kept,
            progress=context.progress,
            interpreter_only=platform in others,
        )

    wanted = [*project.image.platforms, *others]
    with (
        context.progress.task("resolving the base", len(wanted), unit="platforms") as task,
        ThreadPoolExecutor(len(wanted)) as pool,
    ):
        bases = dict(zip(wanted, _advancing(pool.map(resolve, wanted), task), strict=True))
    platforms = tuple(
        LockedPlatform(
            platform=platform,
            python=bases[platform].python,
            glibc=bases[platform].glibc,
            bytecode=_interpreter_version(bases[platform].artifacts) if compiled else "",
            debs=bases[platform].artifacts,
            wheels=(),
            layers=(),
        )
        for platform in sorted(project.image.platforms)
    )
    if compiled:
        for other in wanted:
            _same_interpreter(platforms[0], bases[other].artifacts, other)
    seen = {digest: uri for base in bases.values() for digest, uri in base.locations.items()}
    made = Lock(
        base=project.image.base,
        inputs=facts,
        outputs={},
        tools=bases[wanted[0]].tools,
        platforms=platforms,
        interpreters={other: bases[other].artifacts for other in others},
    )
    return made, seen


def _names(lock: Lock) -> frozenset[str]:
    """What ``--upgrade-package`` may call a part of the lock's base."""
    image = names_of(lock.base) if lock.base_digest is not None else frozenset()
    return image | {one.name for locked in lock.platforms for one in locked.debs}


def _advancing(items: Iterable[_T], task: Task) -> Iterator[_T]:
    for item in items:
        task.advance(1)
        yield item


def _interpreter_version(debs: Sequence[Artifact]) -> str:
    """The Debian version of the interpreter that compiles byte code, without a processor's own rebuild (+bN)."""
    for one in debs:
        if one.name.startswith("python3.") and one.name.endswith("-minimal"):
            return one.version.partition("+b")[0]
    raise LockshipError("the base has no pythonX.Y-minimal")


def _same_interpreter(locked: LockedPlatform, debs: Sequence[Artifact], other: Platform) -> None:
    """One interpreter compiles for all platforms, whichever of them a machine can run: they must be one version."""
    if (version := _interpreter_version(debs)) != locked.bytecode:
        raise StaleLockError(
            f"the mirror has python {locked.bytecode} for {locked.platform}, but {version} for {other}",
            hint="its architectures are not in step yet: try again later, or set `bytecode = false` under [python]",
        )


def _lock_python(
    project: Project, context: Context, base: Lock, upgrade: bool, upgrade_packages: Sequence[str]
) -> tuple[Lock, str | None]:
    """`base` with the packages of every platform, and the text of the file that pins them (None without any)."""
    if project.python.conda:
        return _lock_conda(project, context, base, upgrade, upgrade_packages)
    if not project.python.requirements:
        platforms = tuple(replace(locked, wheels=()) for locked in base.platforms)
        return replace(base, platforms=platforms, outputs={}), None
    targets = [Target(locked.platform, locked.python, locked.glibc) for locked in base.platforms]
    chosen = indexes.from_environment(context.environ)
    existing = _existing(project.path(REQUIREMENTS_FILE))
    names = _names(base) | (names_of(project.image.base) if base.base_digest else set())
    resolution = python.resolve(
        project,
        targets,
        existing=existing,
        upgrade=upgrade,
        upgrade_packages=[name for name in upgrade_packages if name not in names],
        indexes=chosen,
        environ=context.environ,
        progress=context.progress,
    )
    pins = {platform: needed_at_runtime(pins, project) for platform, pins in resolution.by_platform.items()}
    wheels = lock_wheels(
        replace(resolution, by_platform=pins),
        targets,
        project=project,
        indexes=chosen,
        cache=context.cache,
        progress=context.progress,
        environ=context.environ,
    )
    text = requirements.render(resolution)
    return replace(
        base,
        outputs={REQUIREMENTS_FILE: Digest.of(text.encode())},
        tools={**base.tools, **resolution.tools},
        platforms=tuple(replace(locked, wheels=wheels[locked.platform]) for locked in base.platforms),
    ), text


def _lock_conda(
    project: Project, context: Context, base: Lock, upgrade: bool, upgrade_packages: Sequence[str]
) -> tuple[Lock, str]:
    from builder.pipeline.condas import lock_environment  # what only environments need

    names = _names(base)
    return lock_environment(
        project,
        context,
        base,
        existing=_existing(project.path(CONDA_FILE)),
        upgrade=upgrade,
        upgrade_packages=[name for name in upgrade_packages if name not in names],
    )


def _lock_layers(
    project: Project, context: Context, unlayered: Lock, old: Lock | None, seen: Mapping[Digest, str]
) -> Lock:
    """The lock with the layers that its artifacts become.

    What the lock before says of a recipe still holds, so its artifacts are neither fetched nor made into layers again;
    a deb that its mirror has dropped is no loss while a store holds its layer.
    """
    recipes = {locked.platform: wheel_and_deb_recipes(locked) for locked in unlayered.platforms}
    layers = {layer.key: layer for locked in (old.platforms if old else ()) for layer in locked.layers}
    wanted = {recipe.key: recipe for group in recipes.values() for recipe in group if recipe.key not in layers}
    _fetch_debs(project, context, unlayered, wanted.values(), seen)
    needed = {part.artifact for recipe in wanted.values() for part in recipe.parts}
    fetch_missing_jars(project, context, [one for one in unlayered.platforms[0].jars if one.digest in needed])
    for locked in unlayered.platforms:
        refuse_clashes(locked, context.cache)
    interpreter = interpreter_for(project, unlayered, context, wanted.values())
    made = make_all(wanted.values(), context.cache, interpreter, context.progress)
    layers.update((recipe.key, _locked_layer(recipe, made[recipe.key])) for recipe in wanted.values())
    platforms = tuple(
        replace(locked, layers=tuple(layers[recipe.key] for recipe in recipes[locked.platform]))
        for locked in unlayered.platforms
    )
    return replace(unlayered, platforms=platforms)


def _fetch_debs(
    project: Project, context: Context, unlayered: Lock, recipes: Iterable[Recipe], seen: Mapping[Digest, str]
) -> None:
    """The debs of `recipes` into the cache, all platforms at once."""
    needed = {part.artifact for recipe in recipes for part in recipe.parts}

    def fetch(locked: LockedPlatform) -> None:
        debs = [one for one in locked.debs if one.digest in needed]
        fetch_missing_debs(project, context, locked.platform, debs, seen)

    with ThreadPoolExecutor(len(unlayered.platforms)) as pool:
        list(pool.map(fetch, unlayered.platforms))


def _locked_layer(recipe: Recipe, layer: Layer) -> LockedLayer:
    return LockedLayer(
        kind=layer.kind,
        key=recipe.key,
        digest=layer.digest,
        size=layer.size,
        diff_id=layer.diff_id,
        holds=tuple(part.name for part in recipe.parts),
    )
