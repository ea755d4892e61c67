"""Base images: read from their registry when locking, needed again only for layers that nobody has."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from builder.content import Digest, Platform
from builder.errors import LockError, ProjectError, VerificationError
from builder.layers.bytecode import Interpreter
from builder.lock import base as bases
from builder.lock import rootfs, runnable
from builder.lock.file import Lock, LockedPlatform
from builder.lock.images import BaseFolder, BaseImage, BaseLayer, can_be_written
from builder.lock.interpreter import Python, find_python
from builder.parallel import Stop, each
from builder.pipeline.context import Context, host_platform
from builder.pipeline.recipes import minor
from builder.pipeline.stores import open_base
from builder.project import Project
from builder.registry.reference import Reference, Repository, parse_reference
from builder.registry.store import Store

__all__ = ["fetch_layers", "fetch_missing", "interpreter_of", "lock_image", "repository_of_base"]

_HOSTS: Final = (Platform("linux", "amd64"), Platform("linux", "arm64"))
_VENV: Final = "/opt/venv"
# Folders and links are noted so far down: below, a project's files rarely meet the base's.
_DEPTH: Final = 2
# The first Python whose byte code is compiled: what `builder.layers.bytecode` uses came with it.
_COMPILES: Final = (3, 11)


def repository_of_base(lock: Lock) -> Repository:
    """The repository of the lock's base image."""
    return parse_reference(lock.base).repository


def lock_image(
    project: Project,
    context: Context,
    reference: Reference,
    old: Lock | None,
    inputs: Mapping[str, Digest],
    *,
    upgrade: bool,
) -> Lock:
    """A lock with the image that `reference` names for every platform, and nothing of Python packages yet.

    What the lock before says of the reference stays, unless `upgrade`. Raises ProjectError for an image that can't be
    this project's base, StoreError when its registry can't be reached or no longer has it.
    """
    _refuse_packages(project)
    name = str(reference)
    known = old if old is not None and old.base == name and not upgrade else None
    stop = Stop()
    with open_base(reference.repository, project, context, stop=stop) as store:
        offer = bases.find(store, reference, pinned=known.base_digest if known else None, file=project.file)
        platforms = tuple(
            _known(known, offer, platform, project) or _look(project, context, store, offer, platform, stop)
            for platform in sorted(project.image.platforms)
        )
    if project.python.bytecode:
        platforms = _compiled(project, context, platforms)
    others = {
        host: offer.manifests[host]
        for host in _HOSTS
        if platforms[0].bytecode and host not in project.image.platforms and host in offer.manifests
    }
    return Lock(
        base=name,
        inputs=inputs,
        outputs={},
        tools={},
        platforms=platforms,
        base_digest=offer.digest,
        interpreter_images=others,
    )


def _refuse_packages(project: Project) -> None:
    for key in ("packages", "sources", "snapshot"):
        if getattr(project.image, key):
            raise ProjectError(
                f"image.{key}: Debian packages go into a base that is put together from them, not into an image",
                hint='put them into the base image itself, or write base = "debian:bookworm"',
                file=project.file,
            )


def _known(known: Lock | None, offer: bases.Offer, platform: Platform, project: Project) -> LockedPlatform | None:
    """What the lock before says of the very same image, if it is what the project wants."""
    for locked in known.platforms if known is not None else ():
        same = locked.base is not None and locked.base.digest == offer.manifests.get(platform)
        if locked.platform == platform and same and minor(locked.python) == project.python.version:
            assert locked.base is not None
            return replace(locked, bytecode=locked.base.build if project.python.bytecode else "", wheels=(), layers=())
    return None


def _look(
    project: Project, context: Context, store: Store, offer: bases.Offer, platform: Platform, stop: Stop
) -> LockedPlatform:
    """Look into the image for `platform`: its layers come into the cache for that, once."""
    what = f"{offer.name} ({platform})"
    found = bases.settings(store, offer, platform, file=project.file)
    fetch_layers(store, found.layers, context, stop)
    with _opened(found.layers, context) as tree:
        python = find_python(tree, _variables(found.env), project.python.version, platform, what, file=project.file)
        image = _image(tree, found, python, offer.manifests[platform], what, project)
        if project.python.bytecode and platform == host_platform():
            # while its layers are open: compiling will ask for it
            key = _key(image.digest, project.python.version)
            with context.cache.folder("pythons", key) as (folder, there):
                if not there:
                    runnable.lay_out(tree, python, project.python.version, folder)
    if image.owns_venv:
        context.progress.warn(f"{what} has an {_VENV} of its own, which the image's hides")
    for words in found.left_out:
        context.progress.warn(f"{what}: {words} are not passed on")
    return LockedPlatform(
        platform=platform,
        python=python.version,
        glibc=python.glibc,
        bytecode=python.build if project.python.bytecode else "",
        debs=(),
        wheels=(),
        layers=(),
        base=image,
    )


def _image(
    tree: rootfs.Tree, found: bases.Inherited, python: Python, digest: Digest, what: str, project: Project
) -> BaseImage:
    above = tree.find(posixpath.dirname(_VENV))
    if above is not None and (above[0] != posixpath.dirname(_VENV) or not isinstance(above[1], rootfs.Folder)):
        raise ProjectError(
            f"image.base: {what}: /opt is not a folder of its own but {above[0]}",
            hint=f"the virtual environment goes to {_VENV}; choose a base with an ordinary /opt",
            file=project.file,
        )
    if python.path == _VENV or python.path.startswith(f"{_VENV}/"):
        raise ProjectError(
            f"image.base: {what}: its Python is {python.path}, in the place of the image's virtual environment",
            hint=f"choose a base whose Python is not in {_VENV}",
            file=project.file,
        )
    links, folders = _upper(tree)
    image = BaseImage(
        digest=digest,
        interpreter=python.path,
        build=python.build,
        layers=found.layers,
        env=found.env,
        user=found.user,
        entrypoint=found.entrypoint,
        labels=found.labels,
        ports=found.ports,
        volumes=found.volumes,
        stop_signal=found.stop_signal,
        owns_venv=tree.find(_VENV) is not None,
        links=links,
        folders=folders,
    )
    if not can_be_written(image):
        raise ProjectError(
            f"image.base: {what}: its configuration holds what no image should, such as a user with a line break",
            hint="choose another base",
            file=project.file,
        )
    return image


def _upper(tree: rootfs.Tree) -> tuple[dict[str, str], tuple[BaseFolder, ...]]:
    """The links to folders, and the folders that are not 0755 and root's, in the upper folders of an image."""
    links: dict[str, str] = {}
    folders: list[BaseFolder] = []

    def visit(folder: rootfs.Folder, path: str, depth: int) -> None:
        for name, node in sorted(folder.children.items()):
            here = f"{path}/{name}"
            if not _is_plain(here):
                continue
            if isinstance(node, rootfs.Link) and tree.folder(here) is not None and _is_plain(node.target):
                links[here[1:]] = node.target
            elif isinstance(node, rootfs.Folder):
                if (node.mode, node.uid, node.gid) != (0o755, 0, 0):
                    folders.append(BaseFolder(here[1:], node.mode, node.uid, node.gid))
                if depth > 1:
                    visit(node, here, depth - 1)

    visit(tree.root, "", _DEPTH)
    return links, tuple(folders)


def _is_plain(path: str) -> bool:
    """Whether a path can be written down: what can't be is not what a project's files meet."""
    return path.isprintable() and "\N{REPLACEMENT CHARACTER}" not in path


def _variables(env: Sequence[str]) -> dict[str, str]:
    return dict(one.split("=", 1) for one in env)


def _compiled(project: Project, context: Context, platforms: tuple[LockedPlatform, ...]) -> tuple[LockedPlatform, ...]:
    """`platforms` with byte code or, where one interpreter can't compile it for all of them, without, and a notice."""
    builds = {str(locked.platform): locked.base.build for locked in platforms if locked.base is not None}
    version = tuple(int(part) for part in project.python.version.split("."))
    if version < _COMPILES:
        why = f"Python {project.python.version} can't make it reproducibly, 3.11 and later can"
    elif len(set(builds.values())) > 1:
        why = "the base's python is " + ", ".join(f"{build} for {name}" for name, build in builds.items())
    else:
        return platforms
    context.progress.warn(f"the image gets no byte code and starts slower: {why}")
    return tuple(replace(locked, bytecode="") for locked in platforms)


# layers


def fetch_layers(store: Store, layers: Collection[BaseLayer], context: Context, stop: Stop) -> None:
    """Those of `layers` that the cache lacks, or has damaged, verified; `stop` ends it.

    Raises VerificationError for other bytes than announced.
    """
    lacking = [layer for layer in {one.digest: one for one in layers}.values() if not _is_sound(layer.digest, context)]
    if not lacking:
        return
    with context.progress.task("fetching the base", sum(layer.size for layer in lacking)) as task:

        def fetch(layer: BaseLayer) -> None:
            with context.cache.writer() as writer:
                for chunk in store.read_blob(layer.digest):
                    writer.write(chunk)
                    if writer.size > layer.size:
                        break
                    task.advance(len(chunk))
                if writer.size != layer.size:
                    raise VerificationError(
                        f"the base's layer {layer.digest} has another size than the {layer.size:,} bytes announced",
                        hint="try again; if it stays so, the registry is damaged",
                    )
                writer.commit(layer.digest)

        each(sorted(lacking, key=lambda one: -one.size), fetch, stop, threads=store.parallel)


def fetch_missing(project: Project, lock: Lock, context: Context, wanted: Collection[Digest]) -> None:
    """Those of the base's layers that are `wanted`, from its repository, unless the cache has them."""
    layers = {
        layer.digest: layer
        for locked in lock.platforms
        for layer in (locked.base.layers if locked.base is not None else ())
        if layer.digest in wanted
    }
    if all(_is_sound(digest, context) for digest in layers):
        return
    stop = Stop()
    with open_base(repository_of_base(lock), project, context, stop=stop) as store:
        fetch_layers(store, layers.values(), context, stop)


def _is_sound(digest: Digest, context: Context) -> bool:
    try:
        return context.cache.checked(digest) is not None
    except VerificationError as error:
        context.progress.warn(f"{error.message}; it is fetched again")
        return False


@contextmanager
def _opened(layers: Sequence[BaseLayer], context: Context) -> Iterator[rootfs.Tree]:
    """The file system of layers that are in the cache."""
    with context.cache.passing() as passing:
        paths = [(layer, context.cache.blob(layer.digest)) for layer in layers]
        with rootfs.opened([(layer, path) for layer, path in paths if path is not None], passing.root) as tree:
            yield tree


# the interpreter


def interpreter_of(project: Project, lock: Lock, context: Context) -> Interpreter | None:
    """The base's python, laid out for this machine; None when the base has none that runs here.

    Its layers are fetched unless it was laid out before. Raises LockError when the base's python for this machine is
    another one than the lock's.
    """
    host = host_platform()
    digest = _manifest_for(lock, host)
    if host is None or digest is None:
        return None
    found = minor(lock.platforms[0].python)
    key = _key(digest, found)
    with context.cache.folder("pythons", key) as (folder, there):
        if not there:
            _unpack(project, lock, context, host, digest, folder)
    return Interpreter(context.cache.root / "pythons" / key, host, found, flat=True)


def _manifest_for(lock: Lock, host: Platform | None) -> Digest | None:
    for locked in lock.platforms:
        if locked.platform == host and locked.base is not None:
            return locked.base.digest
    return None if host is None else lock.interpreter_images.get(host)


def _key(digest: Digest, version: str) -> str:
    return hashlib.sha256(f"base {runnable.FORMAT} {digest} {version}".encode()).hexdigest()


def _unpack(project: Project, lock: Lock, context: Context, host: Platform, digest: Digest, folder: Path) -> None:
    repository = repository_of_base(lock)
    wanted = minor(lock.platforms[0].python)
    locked = next((one.base for one in lock.platforms if one.platform == host), None)
    stop = Stop()
    with open_base(repository, project, context, stop=stop) as store:
        if locked is not None:
            layers, env = locked.layers, locked.env
        else:
            said = bases.settings(store, bases.Offer(lock.base, digest, {host: digest}), host, file=project.file)
            layers, env = said.layers, said.env
        fetch_layers(store, layers, context, stop)
    with _opened(layers, context) as tree:
        python = find_python(tree, _variables(env), wanted, host, f"{lock.base} ({host})", file=project.file)
        if python.build != (build := lock.platforms[0].bytecode):
            raise LockError(
                f"the base's python is {python.build} for {host}, but {build} for the project's platforms",
                hint="build on one of the project's platforms, or set `bytecode = false` under [python]",
            )
        runnable.lay_out(tree, python, wanted, folder)
