"""What is attached to a release's index: a bill of materials per platform, its provenance, its lock; all of it signed.

Each is a small artifact whose subject is the index, and a function of the plan but for the provenance, which says when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from builder import __version__
from builder.content import Descriptor, Digest
from builder.errors import LockshipError, VerificationError
from builder.image.plan import ImagePlan
from builder.lock.file import LOCK_FILE
from builder.models.artifact import ARTIFACT_TYPE as MODEL
from builder.models.sources import file_digest
from builder.parallel import Stop, each
from builder.pipeline.planning import Prepared
from builder.pipeline.shipped import shipped
from builder.registry.artifact import Artifact, File, artifact, read_artifact, store_artifact
from builder.registry.reference import parse_reference
from builder.registry.store import Store
from builder.releases import provenance
from builder.releases.keys import PrivateKey
from builder.releases.provenance import Build, Resource
from builder.releases.sbom import MEDIA_SBOM, Component, Described, bill, package_url
from builder.releases.signing import sign

__all__ = ["LOCK", "PLATFORM", "PROVENANCE", "SBOM", "Circumstances", "attach", "components_of", "evidence_of"]

SBOM: Final = MEDIA_SBOM
PROVENANCE: Final = provenance.MEDIA_STATEMENT
LOCK: Final = "application/vnd.lockship.lock.v1"
PLATFORM: Final = "dev.lockship.platform"

# Debian's releases by the numbers that scanners know them by.
_DEBIAN: Final = {"bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14"}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and when a release was made.

    `where` is a CI job's address, or the name of a machine; `started` and `finished` are RFC 3339 in UTC.
    """

    where: str
    started: str
    finished: str

    @property
    def builder(self) -> str:
        """The address of whom to trust: the CI server's, or one that stands for people's own machines."""
        parts = _address(self.where)
        return provenance.LOCAL_BUILDER if parts is None else f"{parts.scheme}://{parts.netloc}"

    @property
    def invocation(self) -> str:
        """The job's address; empty when it was none."""
        parts = _address(self.where)
        return "" if parts is None else parts.geturl()


def _address(text: str) -> SplitResult | None:
    """An address without the login that may be in it."""
    try:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
    except ValueError:  # brackets without an address in them
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])


def evidence_of(
    prepared: Prepared,
    files: Mapping[str, bytes],
    circumstances: Circumstances,
    *,
    key: PrivateKey | None = None,
    data: Sequence[Resource] = (),
) -> tuple[Artifact, ...]:
    """The evidence of the release that `prepared` plans.

    `files` are the lock and the files it binds, by name; `data` what else went in (training data, say). With `key` the
    provenance is in a signed envelope. Raises VerificationError when `files` are not those of the plan.
    """
    _require_lock(prepared, files)
    bills = tuple(_bill(prepared, image) for image in prepared.plan.images)
    kinds = {LOCK_FILE: "application/toml"}
    lock = [File(name, kinds.get(name, "text/plain"), content) for name, content in sorted(files.items())]
    kind, statement = provenance.encode(_statement(prepared, files, circumstances, data), key)
    return (
        *bills,
        _artifact(prepared, LOCK, lock),
        _artifact(prepared, PROVENANCE, [File("provenance.json", kind, statement)]),
    )


def attach(
    store: Store,
    subject: Digest,
    made: Sequence[Artifact],
    *,
    reference: str,
    key: PrivateKey | None = None,
    also: Iterable[Digest] = (),
    stop: Stop | None = None,
) -> tuple[Descriptor, ...]:
    """Store evidence about the index `subject` and, with `key`, sign the index, the evidence, its models and `also`.

    What is there already stays, and no second one comes beside it: it can be called again after any failure.
    `reference` is what signatures call the repository (`docker_reference`).
    """
    there = store.referrers(subject)
    kept = tuple(_standing(store, there, one) or store_artifact(store, one) for one in made)
    if key is not None:
        models = (one for one in there if one.artifact_type == MODEL)
        wanted = list(dict.fromkeys((subject, *(one.digest for one in (*kept, *models)), *also)))
        each(wanted, lambda digest: sign(store, digest, key, reference), stop or Stop(), threads=store.parallel)
    return kept


def _standing(store: Store, there: Sequence[Descriptor], made: Artifact) -> Descriptor | None:
    """What is attached already and says the same as `made`."""
    alike = [one for one in there if one.artifact_type == made.artifact_type]
    same = [one for one in alike if one.digest == made.descriptor.digest]
    if made.artifact_type == PROVENANCE and not same:
        wanted = _told(provenance.open_envelope(made.files[0].data, None))
        same = [one for one in alike if _told_by(store, one) == wanted]
    for one in same:
        if store.manifest(one.digest) is not None:  # a store may name what it lacks: then it is put anew
            return Descriptor(one.media_type, one.digest, one.size, artifact_type=one.artifact_type)
    return None


def _told(statement: Mapping[str, Any]) -> dict[str, Any]:
    """A statement without who ran the build, and when: that of the run that was first stays."""
    told = {key: value for key, value in statement.items() if key != "predicate"}
    return told | {"definition": statement["predicate"]["buildDefinition"]}


def _told_by(store: Store, descriptor: Descriptor) -> dict[str, Any] | None:
    with suppress(LockshipError, KeyError, TypeError):  # somebody else's, or damaged: ours comes beside it
        stored = read_artifact(store, descriptor.digest)
        for content in stored.files.values() if stored else ():
            return _told(provenance.open_envelope(content, None))
    return None


def _artifact(prepared: Prepared, kind: str, files: Sequence[File], platform: str = "") -> Artifact:
    plan = prepared.plan
    notes = {
        "org.opencontainers.image.title": plan.facts.name,
        "org.opencontainers.image.version": plan.facts.version,
        "org.opencontainers.image.created": plan.facts.created,
    }
    if platform:
        notes[PLATFORM] = platform
    return artifact(kind, files, subject=plan.descriptor, annotations=notes)


def _require_lock(prepared: Prepared, files: Mapping[str, bytes]) -> None:
    wanted = {LOCK_FILE: Digest.of(prepared.lock.render()), **prepared.lock.outputs}
    for name, content in files.items():
        if wanted.get(name) != Digest.of(content):
            raise VerificationError(
                f"{name} changed while the release was made", hint="let nothing write to the project, and try again"
            )


def _bill(prepared: Prepared, image: ImagePlan) -> Artifact:
    facts, platform = prepared.plan.facts, str(image.platform)
    about = Described(facts.name, facts.version, platform, image.descriptor.digest, facts.created)
    content = bill(about, components_of(prepared, image))
    return _artifact(prepared, SBOM, [File("sbom.cdx.json", MEDIA_SBOM, content)], platform)


def components_of(prepared: Prepared, image: ImagePlan) -> list[Component]:
    """What `image` is made of: exactly what its lock and its layers say."""
    pinned = prepared.lock.platform(image.platform)
    layers = {(layer.kind, name): str(layer.digest) for layer in image.layers for name, _ in layer.holds}
    release = prepared.lock.base.rpartition(":")[2]
    distro = f"debian-{_DEBIAN.get(release, release)}"
    found = [*_base(prepared, image), *_models(prepared, layers)]
    for one in pinned.debs:
        where = {"arch": one.file.removesuffix(".deb").rpartition("_")[2]}
        if prepared.lock.base_digest is None:
            where["distro"] = distro
        found.append(
            Component(
                "deb", one.name, one.version, one.digest.hex, one.size, one.file, where, layer=layers["deb", one.name]
            )
        )
    for one in pinned.conda:
        layer, where = layers["conda", one.name], {"channel": one.channel, "subdir": one.subdir}
        found.append(Component("conda", one.name, one.version, one.digest.hex, one.size, one.file, where, layer=layer))
    for one in pinned.wheels:
        layer = layers["wheel", one.name]
        found.append(Component("python", one.name, one.version, one.digest.hex, one.size, one.file, layer=layer))
    for one in pinned.jars:
        layer, where = layers["jar", one.name], {"type": "jar"}
        if classifier := ":".join(one.name.split(":")[2:]):
            where["classifier"] = classifier
        found.append(Component("maven", one.name, one.version, one.digest.hex, one.size, one.file, where, layer=layer))
    for layer_ in image.layers:
        if layer_.kind == "code":
            version = prepared.plan.facts.version
            found.append(Component("file", layer_.title, version, size=layer_.size, layer=str(layer_.digest)))
    return found


def _base(prepared: Prepared, image: ImagePlan) -> Iterator[Component]:
    lock = prepared.lock
    if lock.base_digest is None:
        name, _, release = lock.base.rpartition(":")
        yield Component("system", name, _DEBIAN.get(release, release))
        return
    reference = parse_reference(lock.base)
    where = {"repository_url": str(reference.repository), "arch": image.platform.architecture}
    if reference.tag:
        where["tag"] = reference.tag
    yield Component("base", str(reference.repository), str(lock.base_digest), qualifiers=where)


def _models(prepared: Prepared, layers: Mapping[tuple[str, str], str]) -> Iterator[Component]:
    project = prepared.project
    for (name, _), model in zip(project.named_models, shipped(project), strict=True):
        path = project.path(model.files[0][0])
        digest, size = "", None
        if path.is_file():
            digest = file_digest(project, model.files[0][0], f"the model {name}", "source").hex
            size = path.stat().st_size
        layer = layers.get(("model", model.title), "")
        yield Component("model", name, prepared.plan.facts.version, digest, size, model.title, layer=layer)


def _statement(
    prepared: Prepared, files: Mapping[str, bytes], circumstances: Circumstances, data: Sequence[Resource]
) -> dict[str, Any]:
    plan, facts = prepared.plan, prepared.plan.facts
    name = f"{facts.name}:{facts.version}"
    subjects = [Resource({"sha256": plan.descriptor.digest.hex}, name, media_type=plan.descriptor.media_type)]
    for image in plan.images:
        digest = {"sha256": image.descriptor.digest.hex}
        subjects.append(Resource(digest, f"{name} ({image.platform})", media_type=image.descriptor.media_type))
    asked = {
        "project": facts.name,
        "version": facts.version,
        "platforms": [str(image.platform) for image in plan.images],
        "source": facts.source,
        "commit": facts.revision,
        "dirty": facts.dirty,
    }
    build = Build(
        parameters={key: value for key, value in asked.items() if value not in (None, False)},
        dependencies=(*_dependencies(prepared, files), *data),
        builder=circumstances.builder,
        invocation=circumstances.invocation,
        started=circumstances.started,
        finished=circumstances.finished,
        versions={"lockship": __version__},
    )
    return provenance.statement(subjects, build)


def _dependencies(prepared: Prepared, files: Mapping[str, bytes]) -> Iterator[Resource]:
    """What the images are a function of: the commit, the lock (which names every package), the base, the models."""
    facts, lock = prepared.plan.facts, prepared.lock
    if facts.revision:
        uri = f"git+{facts.source}@{facts.revision}" if facts.source else ""
        yield Resource({"gitCommit": facts.revision}, "code", uri)
    for name, content in sorted(files.items()):
        yield Resource({"sha256": Digest.of(content).hex}, name)
    image = prepared.plan.images[0]
    for one in _base(prepared, image):
        if lock.base_digest is not None:
            yield Resource({"sha256": lock.base_digest.hex}, lock.base, package_url(one))
    for one in _models(prepared, {}):
        if one.sha256:
            yield Resource({"sha256": one.sha256}, one.file)
