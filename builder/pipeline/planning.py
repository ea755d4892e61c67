"""Lock, code and models to a plan: what would be built and its digest, without building it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from builder import git
from builder.content import Digest, Platform
from builder.errors import ProjectError, StaleLockError
from builder.image.config import Facts
from builder.image.index import Plan, plan_index
from builder.image.plan import plan_image
from builder.layers import conda, files, system, tar, venv
from builder.layers.encode import Encoded, encode, stream
from builder.layers.gzip import Sink
from builder.layers.order import largest_first
from builder.layers.recipe import Layer, Part, Recipe
from builder.lock.file import Lock, LockedPlatform
from builder.pipeline import standing
from builder.pipeline.checking import load_lock
from builder.pipeline.context import Context
from builder.pipeline.overlaps import JARS, jar_entries, stack
from builder.pipeline.recipes import is_current, minor, wheel_and_deb_recipes
from builder.pipeline.shipped import Shipped, shipped
from builder.project import GitVersion, Project
from builder.registry.reference import Repository

__all__ = ["LocalLayer", "Prepared", "plan", "prepare", "resolve_version"]


@dataclass(frozen=True, slots=True)
class LocalLayer:
    """A layer made from the project itself: small, so its digest is found by making it into nothing."""

    layer: Layer
    entries: tuple[tar.Entry, ...]
    compress: bool

    def __iter__(self) -> Iterator[bytes]:
        """The blob in chunks, made anew each time."""
        return stream(self.entries, compress=self.compress)

    def write(self, sink: Sink) -> None:
        """Make it."""
        encode(self.entries, sink, compress=self.compress)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and how each of its layers comes to be.

    From a recipe of the lock, from the project's files, or, for a base image's own, from the repository in `sources`.
    """

    project: Project
    lock: Lock
    plan: Plan
    recipes: Mapping[Digest, Recipe]
    local: Mapping[Digest, LocalLayer]
    warnings: tuple[str, ...] = ()
    sources: Mapping[Digest, Repository] = field(default_factory=dict)


def plan(project: Project, context: Context, platforms: Sequence[Platform] | None = None) -> Plan:
    """What `build` would build: every layer, config and manifest with its digest. Offline.

    Raises StaleLockError when the lock doesn't fit the project, ProjectError when a file isn't there.
    """
    return prepare(project, context, platforms).plan


def prepare(project: Project, context: Context, platforms: Sequence[Platform] | None = None) -> Prepared:
    """As `plan`, with everything that building needs."""
    locked = load_lock(project)
    project = resolve_version(project, context)
    facts = _facts(project, context, locked)
    wanted = tuple(dict.fromkeys(platforms or project.image.platforms))
    for one in wanted:
        if one not in project.image.platforms:
            raise ProjectError(
                f"{one} is not among the project's platforms", hint="add it to [image] platforms and lock again",
                file=project.file,
            )  # fmt: skip
    fixed = _fixed_layers(project, locked.platform(wanted[0]))
    beneath = [("the base", entries) for entries in (standing.beneath(locked), *(one.entries for one in fixed))]
    jars = jar_entries(locked.platform(wanted[0]), context.cache)
    own, warnings = _own_layers(project, beneath, jars)
    local: dict[Digest, LocalLayer] = {one.layer.digest: one for one in own}
    recipes: dict[Digest, Recipe] = {}
    images = []
    for target in sorted(wanted):
        pinned = locked.platform(target)
        *system_layers, skeleton = _fixed_layers(project, pinned)
        local.update((one.layer.digest, one) for one in (*system_layers, skeleton))
        layers = _locked_layers(pinned)
        recipes.update(zip((layer.digest for layer in layers), _recipes(pinned), strict=True))
        debs = [layer for layer in layers if layer.kind == "deb"]
        wheels = largest_first(layer for layer in layers if layer.kind != "deb")
        base = [*standing.layers(locked, pinned), *(one.layer for one in system_layers), *debs]
        stack = [*base, skeleton.layer, *wheels, *(one.layer for one in own)]
        inherited = standing.inherited(pinned)
        images.append(plan_image(project, target, stack, facts, python=pinned.python, base=inherited))
    return Prepared(project, locked, plan_index(images, facts), recipes, local, warnings, standing.sources(locked))


def resolve_version(project: Project, context: Context) -> Project:
    """The project with its version found out, where it says that git knows it."""
    if isinstance(project.version, GitVersion):
        return project.with_version(git.describe(project.root, context.environ))
    return project


def _facts(project: Project, context: Context, locked: Lock) -> Facts:
    checkout = git.checkout(project.root, context.environ)
    return Facts(
        name=project.name,
        version=str(project.version),
        created=_created(context.environ, checkout.time if checkout else None),
        revision=checkout.commit if checkout else None,
        source=project.source,
        dirty=bool(checkout and checkout.commit and checkout.dirty),
        base=locked.base,
        base_digest=locked.base_digest,
    )


def _created(environ: Mapping[str, str], commit_time: int | None) -> str:
    """When the sources were made, never when the image was (reproducible-builds.org, SOURCE_DATE_EPOCH)."""
    epoch = environ.get("SOURCE_DATE_EPOCH", "")
    try:
        seconds = int(epoch) if epoch else commit_time or 0
        if seconds < 0:
            raise ValueError(epoch)
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ProjectError(
            f"SOURCE_DATE_EPOCH is {epoch!r}, seconds since 1970 are expected", hint="unset it, or give a whole number"
        ) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _recipes(pinned: LockedPlatform) -> Iterable[Recipe]:
    if not is_current(pinned):
        raise StaleLockError(
            "the lock's layers are of another format than this lockship makes",
            hint="run `lockship lock` with this version, or build with the version that wrote the lock",
        )
    return wheel_and_deb_recipes(pinned)


def _locked_layers(pinned: LockedPlatform) -> list[Layer]:
    versions = {(one.kind, one.name): one.version for one in pinned.artifacts}
    return [
        Layer(
            kind=one.kind,
            digest=one.digest,
            size=one.size,
            diff_id=one.diff_id,
            holds=tuple((name, versions.get((one.kind, name), "")) for name in one.holds),
            media_type=one.media_type,
        )
        for one in pinned.layers
    ]


def _fixed_layers(project: Project, pinned: LockedPlatform) -> tuple[LocalLayer, ...]:
    """The base's skeleton, unless it is an image, and the virtual environment's."""
    if pinned.base is not None:
        return (_local("venv", "venv", standing.skeleton(pinned, pinned.base)),)
    params = {"user": project.image.user, "architecture": pinned.platform.architecture}
    frame = system.entries(Part("system", "system", params=params))
    if pinned.conda:
        return _local("system", "system", frame), _local("venv", "environment", conda.skeleton())
    skeleton = venv.entries(Part("venv", "venv", params={"python": minor(pinned.python), "full": pinned.python}))
    return _local("system", "system", frame), _local("venv", "venv", skeleton)


def _own_layers(
    project: Project, below: Iterable[tuple[str, Sequence[tar.Entry]]], jars: Sequence[tar.Entry]
) -> tuple[list[LocalLayer], tuple[str, ...]]:
    """Models first, then code: from stable to volatile. They lie upon `below`, lowest first, and upon the `jars`."""
    models = [(one.title, _model_entries(project, one)) for one in shipped(project)]
    collected = files.collect(project.root, [(one.source, one.destination) for one in project.image.files])
    own_files = ("[image] files", collected.entries)
    _, *stacked, code = stack(below, [(JARS, jars), *models, own_files])
    own = []
    for (name, _), entries in zip(models, stacked, strict=True):
        if entries:
            own.append(_local("model", name, entries, compress=False))
    if code:
        own.append(_local("code", project.name, code))
    return own, (*collected.warnings, *_outspoken(project))


def _model_entries(project: Project, model: Shipped) -> tuple[tar.Entry, ...]:
    each = (files.model_entries(project.root, source, target) for source, target in model.files)
    return tuple(tar.arrange(entry for entries in each for entry in entries))


def _outspoken(project: Project) -> Iterable[str]:
    """Settings that hold what looks like a secret: whoever has the image can read them."""
    for key, value in {**project.image.env, **project.image.labels}.items():
        if what := files.looks_like_a_secret(key, value):
            yield f"{key} looks like {what}, and goes into the image for everybody to read"


def _local(kind: str, name: str, entries: Iterable[tar.Entry], *, compress: bool = True) -> LocalLayer:
    arranged = tuple(tar.arrange(entries))
    sink = _HashSink() if compress else _NullSink()
    encoded: Encoded = encode(arranged, sink, compress=compress)
    # a plain tar's digest is its diff id, which the encoder finds out anyway
    digest = sink.digest if isinstance(sink, _HashSink) else encoded.diff_id
    layer = Layer(kind, digest, encoded.size, encoded.diff_id, ((name, ""),), encoded.media_type)
    return LocalLayer(layer, arranged, compress)


class _HashSink:
    """Takes bytes and keeps only their digest."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._hash.update(data)

    @property
    def digest(self) -> Digest:
        return Digest.from_hex(self._hash.hexdigest())


class _NullSink:
    """Takes bytes."""

    def write(self, data: bytes) -> None:
        pass
