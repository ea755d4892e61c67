"""Evidence of real releases, in a layout and in a registry: attached once, signed, checked, tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from builder.content import Descriptor, Digest, canonical_json
from builder.errors import StoreError, VerificationError
from builder.models.artifact import ARTIFACT_TYPE as MODEL
from builder.pipeline import lock
from builder.pipeline.building import build_prepared
from builder.pipeline.evidence import LOCK, PLATFORM, PROVENANCE, SBOM, Circumstances, attach, evidence_of
from builder.pipeline.evidence_checks import Finding, check_evidence, require_evidence
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.stores import open_registry as open_base
from builder.registry.artifact import Artifact, File, artifact, read_artifact, store_artifact
from builder.registry.layout import Layout
from builder.registry.reference import Repository
from builder.registry.store import Store
from builder.releases.keys import PrivateKey, generate
from builder.releases.provenance import Resource, open_envelope, subjects_of
from builder.releases.signing import sign, signature_tag
from tests.pipeline.test_bases import project as on_base
from tests.pipeline.test_bases import put
from tests.pipeline.test_models import converted
from tests.registry.conftest import new_name, open_registry
from tests.releases.test_provenance import validate
from tests.support.apt_repository import Key
from tests.support.registry import RegistryServer
from tests.support.world import World, world

pytestmark = pytest.mark.apt

NAME = "registry.example.com/ml/demo"
JOB = Circumstances("https://ci.example.com/jobs/7", "2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z")
LATER = Circumstances("https://ci.example.com/jobs/8", "2026-01-03T03:04:05Z", "2026-01-03T03:05:05Z")
KEY, OTHER = generate(), generate()


@dataclass(frozen=True)
class Released:
    """A release that was built into `store`, and how to make its evidence."""

    here: World
    prepared: Prepared
    store: Store

    @property
    def index(self) -> Digest:
        return self.prepared.plan.descriptor.digest

    @property
    def files(self) -> dict[str, bytes]:
        return {name: (self.here.root / name).read_bytes() for name in ("lockship.lock", "requirements.lock")}

    def made(self, circumstances: Circumstances = JOB, key: PrivateKey | None = KEY) -> tuple[Artifact, ...]:
        return evidence_of(self.prepared, self.files, circumstances, key=key)

    def attach(self, circumstances: Circumstances = JOB, key: PrivateKey | None = KEY) -> tuple[Descriptor, ...]:
        return attach(self.store, self.index, self.made(circumstances, key), reference=NAME, key=key)

    def check(self, key: PrivateKey | None = KEY) -> tuple[Finding, ...]:
        return check_evidence(self.store, self.index, key.public if key else None)

    def bad(self, key: PrivateKey | None = KEY) -> dict[str, str]:
        return {one.what: one.detail for one in self.check(key) if not one.ok}

    def one(self, kind: str, platform: str | None = None) -> Descriptor:
        [found] = [
            one
            for one in self.store.referrers(self.index)
            if one.artifact_type == kind and platform in (None, one.annotations.get(PLATFORM))
        ]
        return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, archive_key: Key) -> Iterator[World]:
    """A locked project for two platforms, with code and a converted model."""
    with world(tmp_path_factory.mktemp("evidence"), archive_key) as here:
        here.wheel("alpha")
        here.wheel("beta", "2.0")
        here.write("code/__init__.py", "")
        converted(here)
        image = 'files = ["code/"]\nplatforms = ["linux/amd64", "linux/arm64"]'
        lock(here.project("alpha\nbeta\n", image=image, rest='[model]\nsource = "demo.skops"\n'), here.context)
        yield here


@pytest.fixture(params=["layout", "registry"])
def released(request: pytest.FixtureRequest, project: World, tmp_path: Path) -> Iterator[Released]:
    """The project, built into an empty store."""
    prepared = prepare(project.load(), project.context)

    def built(store: Store) -> Released:
        build_prepared(prepared, project.context, store, move=False)
        return Released(project, prepared, store)

    if request.param == "layout":
        yield built(Layout(tmp_path / "store", name="demo"))
        return
    server: RegistryServer = request.getfixturevalue("registry")
    with open_registry(server, new_name()) as opened:
        yield built(opened)


def content(store: Store, descriptor: Descriptor) -> bytes:
    stored = read_artifact(store, descriptor.digest)
    assert stored is not None
    [data] = stored.files.values()
    return data


def test_all_of_it_is_there_and_holds(released: Released) -> None:
    released.attach()
    found = released.check()
    assert [one for one in found if not one.ok] == []
    assert [one.what for one in found] == [
        "index", "lock", "model demo", "provenance", "sbom linux/amd64", "sbom linux/arm64",
    ]  # fmt: skip
    assert all("signed with SHA256:" in one.detail for one in found)
    assert require_evidence(released.store, released.index, KEY.public) == found
    assert released.bad(None) == {}
    assert {one.digest for one in found} == {
        released.index, *(one.digest for one in released.store.referrers(released.index))
    }  # fmt: skip
    json.dumps([one.to_json() for one in found])


def test_nothing_of_it_is_there(released: Released) -> None:
    missing = dict.fromkeys(("lock", "provenance", "sbom linux/amd64", "sbom linux/arm64"), "is not there")
    assert released.bad(None) == missing
    assert released.bad().keys() == missing.keys() | {"index", "model demo"}
    with pytest.raises(VerificationError, match=r"is not there \(and 3 more\)|is not signed") as caught:
        require_evidence(released.store, released.index, None)
    assert caught.value.hint
    with pytest.raises(StoreError, match="is not in the store"):
        check_evidence(released.store, Digest.of(b"absent"), None)


def state(store: Store) -> tuple[Mapping[str, Digest], tuple[Descriptor, ...]]:
    tags = store.tags()
    return tags, store.referrers(tags["1.0"])


def test_attaching_again_changes_nothing(released: Released) -> None:
    first = released.attach()
    before = state(released.store)
    assert released.attach() == first
    assert released.attach(LATER) == first  # the provenance of the run that was first stays
    assert state(released.store) == before
    statement = open_envelope(content(released.store, released.one(PROVENANCE)), KEY.public)
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"].endswith("jobs/7")


def test_what_was_attached_unsigned_is_signed_later(released: Released) -> None:
    first = released.attach(key=None)
    assert released.bad(None) == {}
    assert set(released.bad()) >= {"index", "lock", "provenance", "sbom linux/amd64"}
    assert released.attach() == first
    assert released.bad() == {}


def test_a_new_key_signs_what_is_there(released: Released) -> None:
    first = released.attach()
    assert released.attach(key=OTHER) == first
    assert released.bad() == released.bad(OTHER) == {}
    assert "not with" in released.bad(generate())["index"]


# What each piece says.


def test_bills_list_what_is_locked(released: Released) -> None:
    released.attach()
    locked = released.prepared.lock
    for image in released.prepared.plan.images:
        data = content(released.store, released.one(SBOM, str(image.platform)))
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
        bill = json.loads(data)
        urls = {one.get("purl") for one in bill["components"]}
        pinned = locked.platform(image.platform)
        assert {"pkg:pypi/alpha@1.0", "pkg:pypi/beta@2.0"} <= urls
        debs = {one["name"] for one in bill["components"] if one.get("purl", "").startswith("pkg:deb/debian/")}
        assert debs == {one.name for one in pinned.debs}
        assert all("distro=debian-12" in url for url in urls if url and "deb/" in url)
        assert {one["content"] for part in bill["components"] for one in part.get("hashes", ())} >= {
            one.digest.hex for one in (*pinned.debs, *pinned.wheels)
        }
        by_type = {one["type"]: one for one in bill["components"]}
        assert (
            by_type["machine-learning-model"]["hashes"][0]["content"]
            == Digest.of((released.here.root / "demo.onnx").read_bytes()).hex
        )
        assert (by_type["operating-system"]["name"], by_type["operating-system"]["version"]) == ("debian", "12")
        assert bill["metadata"]["component"]["hashes"][0]["content"] == image.descriptor.digest.hex


def test_provenance_says_where_it_comes_from(released: Released) -> None:
    released.attach()
    statement = open_envelope(content(released.store, released.one(PROVENANCE)), KEY.public)
    validate(statement)
    plan = released.prepared.plan
    assert set(subjects_of(statement).values()) == {
        plan.descriptor.digest, *(image.descriptor.digest for image in plan.images)
    }  # fmt: skip
    definition, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert definition["externalParameters"]["version"] == "1.0"
    taken = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
    for name, data in released.files.items():
        assert taken[name] == {"sha256": Digest.of(data).hex}
    assert taken["demo.onnx"]["sha256"] == Digest.of((released.here.root / "demo.onnx").read_bytes()).hex
    assert run["builder"]["id"] == "https://ci.example.com"
    assert run["metadata"] == {
        "invocationId": "https://ci.example.com/jobs/7", "startedOn": JOB.started, "finishedOn": JOB.finished
    }  # fmt: skip


@pytest.mark.parametrize(
    ("where", "builder"),
    [
        ("laptop", "https://lockship.dev/local"),
        ("", "https://lockship.dev/local"),
        ("https://[", "https://lockship.dev/local"),
        ("https://github.com/ml/churn/actions/runs/7", "https://github.com"),
        ("http://jenkins:8080/job/churn/7/", "http://jenkins:8080"),
        ("https://ada:s3cret@ci.example.com/7", "https://ci.example.com"),
    ],
)
def test_who_built(where: str, builder: str) -> None:
    found = Circumstances(where, "", "")
    assert found.builder == builder
    assert "s3cret" not in found.invocation
    assert bool(found.invocation) == (builder != "https://lockship.dev/local")


def test_a_base_that_is_an_image(here: World, registry: RegistryServer) -> None:
    repository = Repository(registry.host, new_name())
    with open_base(repository, here.context, push=True) as bases:
        base = put(bases).descriptor.digest
        here.wheel("alpha")
        lock(on_base(here, bases, "alpha\n"), here.context)
        prepared = prepare(here.load(), here.context)
        released = Released(here, prepared, Layout(here.folder / "store", name="demo"))
        build_prepared(prepared, here.context, released.store)
    released.attach()
    assert released.bad() == {}
    bill = json.loads(content(released.store, released.one(SBOM)))
    [listed] = [one for one in bill["components"] if one["type"] == "container"]
    assert listed["purl"] == (
        f"pkg:oci/{repository.name.rpartition('/')[2]}@{base}?arch=amd64&repository_url={repository}&tag=1"
    )
    assert [one for one in bill["components"] if one["type"] == "operating-system"] == []
    statement = open_envelope(content(released.store, released.one(PROVENANCE)), KEY.public)
    validate(statement)
    assert {"name": f"{repository}:1", "uri": listed["purl"], "digest": {"sha256": base.hex}} in statement["predicate"][
        "buildDefinition"
    ]["resolvedDependencies"]


def test_data_is_named_too(released: Released) -> None:
    made = evidence_of(
        released.prepared, released.files, JOB, data=[Resource({"sha256": "ab" * 32}, "data/train.parquet")]
    )
    statement = open_envelope(made[-1].files[0].data, None)
    assert {"name": "data/train.parquet", "digest": {"sha256": "ab" * 32}} in statement["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]


def test_the_lock_is_the_one_of_the_plan(released: Released) -> None:
    stored = read_artifact(released.store, released.attach()[2].digest)
    assert stored is not None
    assert stored.document["artifactType"] == LOCK
    assert stored.files == released.files
    for name in released.files:
        with pytest.raises(VerificationError, match=f"{name} changed"):
            evidence_of(released.prepared, {**released.files, name: b"other"}, JOB)


# Tampering.


def replaced(released: Released, kind: str, change: Callable[[bytes], bytes], platform: str | None = None) -> Digest:
    """Take one piece of evidence away, and put a changed one into its place."""
    old = released.one(kind, platform)
    stored = read_artifact(released.store, old.digest)
    found = released.store.manifest(old.digest)
    assert stored is not None
    assert found is not None
    files = []
    for layer in stored.document["layers"]:
        name = layer["annotations"]["org.opencontainers.image.title"]
        data = change(stored.files[name]) if name != "requirements.lock" else stored.files[name]
        files.append(File(name, layer["mediaType"], data))
    made = artifact(kind, files, subject=released.prepared.plan.descriptor, annotations=stored.annotations)
    assert made.descriptor.digest != old.digest
    released.store.delete(old.digest)
    store_artifact(released.store, made)
    return made.descriptor.digest


def without_alpha(data: bytes) -> bytes:
    bill = json.loads(data)
    bill["components"] = [one for one in bill["components"] if one["name"] != "alpha"]
    return canonical_json(bill)


def older_alpha(data: bytes) -> bytes:
    return data.replace(b'"version": "1.0"', b'"version": "0.9"')


def with_gamma(data: bytes) -> bytes:
    bill = json.loads(data)
    alpha = next(one for one in bill["components"] if one["name"] == "alpha")
    bill["components"].append({**alpha, "name": "gamma", "bom-ref": "gamma"})
    return canonical_json(bill)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_alpha, "holds the python package alpha 1.0, which is not listed"),
        (older_alpha, "no layer holds the python package alpha 0.9, which is listed"),
        (with_gamma, "no layer holds the python package gamma 1.0, which is listed"),
        (lambda data: b"{}", "damaged"),
        (lambda data: data.replace(b'"hashes"', b'"hushes"'), "of another image: None"),
    ],
)
def test_a_bill_that_was_changed(released: Released, change: Callable[[bytes], bytes], said: str) -> None:
    """Found by what it says even where nothing is signed; and by the signature whatever it says."""
    released.attach()
    digest = replaced(released, SBOM, change, "linux/amd64")
    bad = released.bad(None)
    assert bad.keys() == {"sbom linux/amd64"}
    assert said in bad["sbom linux/amd64"]
    released.store.delete(digest)


def test_a_bill_whose_words_fit_but_that_nobody_signed(released: Released) -> None:
    released.attach()
    replaced(released, SBOM, lambda data: canonical_json(json.loads(data)), "linux/arm64")
    assert released.bad(None) == {}
    assert "is not signed" in released.bad()["sbom linux/arm64"]
    assert released.bad().keys() == {"sbom linux/arm64"}
    released.attach()  # the true one comes back, and the other one stays under suspicion
    assert "is not signed" in released.bad()["sbom linux/arm64"]


def test_a_lock_that_was_changed(released: Released) -> None:
    released.attach()
    replaced(released, LOCK, lambda data: data.replace(b"alpha", b"alphb"))
    assert "was changed by hand" in released.bad(None)["lock"]
    assert released.bad().keys() == {"lock"}


def test_provenance_that_was_changed(released: Released) -> None:
    released.attach()
    replaced(released, PROVENANCE, lambda data: data.replace(b'"sig":"M', b'"sig":"A'))
    assert released.bad(None) == {}  # nobody asked for signatures
    assert "tampered with" in released.bad()["provenance"]


def test_provenance_of_another_release(released: Released) -> None:
    released.attach()
    statement = open_envelope(content(released.store, released.one(PROVENANCE)), KEY.public)
    statement["subject"] = [{"name": "other", "digest": {"sha256": "ab" * 32}}]
    digest = replaced(released, PROVENANCE, lambda data: canonical_json(statement))
    assert "of another release" in released.bad(None)["provenance"]
    sign(released.store, digest, KEY, NAME)  # even if a good key put its name to it
    assert "of another release" in released.bad()["provenance"]


def test_evidence_without_its_bytes(project: World, tmp_path: Path) -> None:
    store = Layout(tmp_path / "store", name="demo")
    prepared = prepare(project.load(), project.context)
    build_prepared(prepared, project.context, store)
    released = Released(project, prepared, store)
    released.attach()
    for kind, what in ((LOCK, "lock"), (MODEL, "model demo")):
        found = store.manifest(released.one(kind).digest)
        assert found is not None
        blob = tmp_path / "store/blobs/sha256" / Digest(json.loads(found.data)["layers"][0]["digest"]).hex
        data = blob.read_bytes()
        blob.unlink()
        assert released.bad().keys() == {what}
        assert "is not whole" in released.bad()[what]
        blob.write_bytes(b"?" * len(data))
        assert released.bad().keys() == {what}
        blob.write_bytes(data)
    assert released.bad() == {}


def test_signatures_that_are_gone(released: Released) -> None:
    kept = released.attach()
    tag = signature_tag(kept[0].digest)
    found = released.store.resolve(tag)
    assert found is not None
    released.store.delete(found)
    assert "is not signed" in released.bad()["sbom linux/amd64"]
    released.attach()
    assert released.bad() == {}


def test_what_others_attach_is_theirs(released: Released) -> None:
    released.attach()
    theirs = artifact("application/vnd.example.scan", subject=released.prepared.plan.descriptor)
    store_artifact(released.store, theirs)
    assert released.bad() == {}


# Failures on the way.


class Failing:
    """A store that fails at its `count`th change."""

    def __init__(self, store: Store, count: int) -> None:
        self._store, self._left = store, count

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("write_blob", "put_manifest"):
            return found

        def change(*words: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise StoreError("the store is gone")
            return found(*words, **named)

        return change


def test_it_goes_on_after_any_failure(project: World, tmp_path: Path) -> None:
    """Cut off at each of its writes, and done again: nothing is there twice, and all of it holds."""
    prepared = prepare(project.load(), project.context)
    for count in range(200):
        store = Layout(tmp_path / str(count), name="demo")
        build_prepared(prepared, project.context, store)
        released = Released(project, prepared, store)
        cut = Released(project, prepared, Failing(store, count))  # type: ignore[arg-type]
        try:
            cut.attach()
        except StoreError:
            assert released.bad() != {}
        else:
            break
        released.attach(LATER)
        assert released.bad() == {}
        assert len(store.referrers(released.index)) == 5
    else:
        raise AssertionError("it never ended")
    assert count > 20


class Forgetful:
    """A store whose list of referrers outlives what it names."""

    def __init__(self, store: Store, there: tuple[Descriptor, ...]) -> None:
        self._store, self._there = store, there

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        return self._there


def test_a_store_may_name_what_it_lacks(released: Released) -> None:
    first = released.attach()
    store = Forgetful(released.store, released.store.referrers(released.index))
    released.store.delete(first[0].digest)
    forgetful = Released(released.here, released.prepared, store)  # type: ignore[arg-type]
    assert forgetful.bad()["sbom linux/amd64"].endswith("is not there, though the store names it")
    assert forgetful.attach() == first
    assert forgetful.bad() == {}
