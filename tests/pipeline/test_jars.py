"""`[java]`, from the project file to an image: real Maven and real HTTP, small jars."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Platform
from builder.errors import (
    ArtifactError,
    LockError,
    ProjectError,
    ResolutionError,
    StaleLockError,
    StoreError,
    UsageError,
    VerificationError,
)
from builder.lock.file import Lock, parse_lock
from builder.pipeline import build, check, lock, plan, verify
from builder.pipeline.bundling import export_bundle
from builder.pipeline.context import Context
from builder.pipeline.evidence import components_of
from builder.pipeline.exporting import export_dockerfile
from builder.pipeline.locking import LockReport
from builder.pipeline.planning import prepare
from builder.pipeline.unbundling import import_bundle
from builder.project import Project
from builder.releases.sbom import package_url
from tests.conftest import DEVELOPER
from tests.support.maven import Shelf, keep_plugins, plugins_into, serve_shelf
from tests.support.progress import Heard
from tests.support.require import need
from tests.support.world import World

pytestmark = [pytest.mark.apt, pytest.mark.slow]

AMD64 = Platform("linux", "amd64")
CHURN = "com.acme:churn"


class Jvm:
    """A world with a Maven repository of its own: churn needs scoring, and that needs words."""

    def __init__(self, here: World, shelf: Shelf) -> None:
        self.here, self.shelf = here, shelf
        self.heard = Heard()
        shelf.jar("org.words:words")
        shelf.jar("com.acme:scoring", needs=["org.words:words:1.0"])
        shelf.jar(CHURN, needs=["com.acme:scoring:1.0"])

    @property
    def context(self) -> Context:
        return replace(self.here.context, progress=self.heard)

    def project(self, *artifacts: str, java: str = "", image: str = "") -> Project:
        listed = ", ".join(f'"{one}"' for one in artifacts or (f"{CHURN}:1.0",))
        section = f'[java]\nartifacts = [{listed}]\nrepositories = ["{self.shelf.url}"]\n{java}'
        return self.here.project(image=image, rest=section)

    def lock(self, *artifacts: str, java: str = "", **more: object) -> LockReport:
        return lock(self.project(*artifacts, java=java), self.context, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def plugins(shared_cache: Cache) -> Cache:
    """A cache with Maven's plugins in it, of Maven Central."""
    need("Maven", shutil.which("mvn"), "there is no mvn on PATH")
    problem = keep_plugins(shared_cache, DEVELOPER)
    need("Maven Central", not problem, problem)
    return shared_cache


@pytest.fixture
def jvm(here: World, plugins: Cache) -> Iterator[Jvm]:
    plugins_into(here.cache, plugins)
    # Maven lives for seconds: too short for the second compiler
    options = f"{DEVELOPER.get('MAVEN_OPTS', '')} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    here.environ["MAVEN_OPTS"] = options.strip()
    with serve_shelf(here.folder / "shelf") as shelf:
        yield Jvm(here, shelf)


def names(found: Lock) -> dict[str, str]:
    return {one.name: one.version for one in found.platforms[0].jars}


def test_a_tree_becomes_layers(jvm: Jvm) -> None:
    image = 'platforms = ["linux/amd64", "linux/arm64"]'
    project = jvm.project(image=image)
    report = lock(project, jvm.context)
    assert names(report.lock) == {CHURN: "1.0", "com.acme:scoring": "1.0", "org.words:words": "1.0"}
    assert report.lock.platforms[0].jars == report.lock.platforms[1].jars
    assert report.lock.tools["maven"].endswith("(3.8.1)")
    assert [change.name for change in report.changes if change.kind == "jar"] == sorted(names(report.lock))
    layers = [layer for layer in report.lock.platforms[0].layers if layer.kind == "jar"]
    assert [layer.holds for layer in layers] == [(name,) for name in sorted(names(report.lock))]
    text = (jvm.here.root / "lockship.lock").read_text()
    assert "127.0.0.1" not in text
    assert parse_lock(text.encode()) == report.lock
    build(project, jvm.context)
    found: set[str] = set()
    for layer in plan(project, jvm.context, [AMD64]).images[0].layers:
        with tarfile.open(fileobj=BytesIO(b"".join(jvm.here.store.read_blob(layer.digest)))) as archive:
            found |= {info.name for info in archive if layer.kind == "jar" and info.isfile()}
    assert sorted(found) == [f"app/lib/{name}-1.0.jar" for name in ("churn", "scoring", "words")]
    assert verify(project, jvm.context).stored


def test_the_lock_is_kept_while_nothing_moves_and_then_no_maven_is_needed(jvm: Jvm) -> None:
    first = jvm.lock().lock
    check(jvm.here.load())
    assert not jvm.lock().written
    shutil.rmtree(jvm.here.cache.root / "maven")
    jvm.here.environ["PATH"] = str(_without_maven(jvm.here.folder))
    moved = jvm.lock(java='destination = "/opt/jars"').lock
    assert names(moved) == names(first)
    assert {one.folder for one in moved.platforms[0].jars} == {"/opt/jars"}
    with pytest.raises(LockError, match=r"resolved by Maven, and there is no Maven \(mvn\) on PATH") as caught:
        jvm.lock(f"{CHURN}:1.0", "org.words:words:1.0")
    assert "apt-get install maven" in str(caught.value.hint)


def _without_maven(folder: Path) -> Path:
    """A folder of links to every program of this machine but mvn."""
    programs = folder / "programs"
    programs.mkdir()
    for place in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for program in Path(place).iterdir():
            if program.name != "mvn" and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    return programs


def test_a_check_names_what_moved(jvm: Jvm) -> None:
    jvm.lock()
    with pytest.raises(StaleLockError, match=r"\[java\] artifacts changed"):
        check(jvm.project(f"{CHURN}:1.1"))


def test_a_jar_that_moves_moves_one_layer(jvm: Jvm) -> None:
    first = jvm.lock().lock
    jvm.shelf.jar(CHURN, "1.1", needs=["com.acme:scoring:1.0"])
    report = jvm.lock(f"{CHURN}:1.1")
    assert [(one.kind, one.name, one.before, one.after) for one in report.changes] == [("jar", CHURN, "1.0", "1.1")]
    before, after = ({layer.digest for layer in one.platforms[0].layers} for one in (first, report.lock))
    assert len(before - after) == len(after - before) == 1


def test_a_range_below_is_locked_and_moves_when_asked(jvm: Jvm) -> None:
    """The artifacts have one version each; what they need may be a range, which stays what it was."""
    jvm.shelf.jar("com.acme:loose", needs=["org.words:words:[1.0,3.0)"])
    _metadata(jvm.shelf, "1.0")
    assert names(jvm.lock("com.acme:loose:1.0").lock)["org.words:words"] == "1.0"
    jvm.shelf.jar("org.words:words", "2.0")
    _metadata(jvm.shelf, "1.0", "2.0")
    assert not jvm.lock("com.acme:loose:1.0").written
    with pytest.raises(UsageError, match=r"no jar com\.acme:nobody is locked"):
        jvm.lock("com.acme:loose:1.0", upgrade_packages=["com.acme:nobody"])
    report = jvm.lock("com.acme:loose:1.0", upgrade_packages=["org.words:words"])
    assert [(one.name, one.before, one.after) for one in report.changes] == [("org.words:words", "1.0", "2.0")]


def _metadata(shelf: Shelf, *versions: str) -> None:
    listed = "".join(f"<version>{one}</version>" for one in versions)
    text = (
        "<metadata><groupId>org.words</groupId><artifactId>words</artifactId>"
        f"<versioning><versions>{listed}</versions></versioning></metadata>"
    )
    path = shelf.folder / "org/words/words/maven-metadata.xml"
    path.write_text(text)
    path.with_name("maven-metadata.xml.sha1").write_text(hashlib.sha1(text.encode()).hexdigest())


def test_the_nearest_version_wins_as_maven_has_it(jvm: Jvm) -> None:
    jvm.shelf.jar("org.words:words", "2.0")
    assert names(jvm.lock(f"{CHURN}:1.0", "org.words:words:2.0").lock)["org.words:words"] == "2.0"


def test_what_is_only_for_compiling_and_tests_stays_out(jvm: Jvm) -> None:
    jvm.shelf.jar("com.acme:compiled", needs=["com.acme:scoring:1.0"], scope="provided")
    jvm.shelf.jar("com.acme:tested", needs=["com.acme:scoring:1.0"], scope="test")
    jvm.shelf.jar("com.acme:running", needs=["org.words:words:1.0"], scope="runtime")
    found = jvm.lock("com.acme:compiled:1.0", "com.acme:tested:1.0", "com.acme:running:1.0").lock
    assert set(names(found)) == {"com.acme:compiled", "com.acme:running", "com.acme:tested", "org.words:words"}


def test_two_jars_of_one_name_stand_side_by_side(jvm: Jvm) -> None:
    jvm.shelf.jar("org.other:churn")
    found = jvm.lock(f"{CHURN}:1.0", "org.other:churn:1.0").lock.platforms[0].jars
    files = {one.name: one.file for one in found}
    assert files[CHURN] == "com.acme.churn-1.0.jar"
    assert files["org.other:churn"] == "org.other.churn-1.0.jar"


def test_an_unknown_artifact_is_explained_in_maven_s_words(jvm: Jvm) -> None:
    with pytest.raises(ResolutionError) as caught:
        jvm.lock(f"{CHURN}:1.0", "com.acme:nobody:7")
    message = caught.value.message
    assert "Could not find artifact com.acme:nobody:jar:7" in message
    assert "[ERROR]" not in message
    assert "Help" not in message
    assert len(message.splitlines()) <= 3
    lines = (jvm.here.root / "lockship.toml").read_text().splitlines()
    assert caught.value.line is not None
    assert "com.acme:nobody:7" in lines[caught.value.line - 1]
    done = jvm.here.run("lock")
    assert done.code == 3
    assert "Traceback" not in done.err


def test_a_snapshot_that_something_needs_is_refused(jvm: Jvm) -> None:
    jvm.shelf.jar("com.acme:unready", needs=["org.words:words:2.0-SNAPSHOT"])
    with pytest.raises(ResolutionError, match=r"words.*2\.0-SNAPSHOT"):
        jvm.lock("com.acme:unready:1.0")


def test_a_jar_that_differs_from_its_checksum_is_refused(jvm: Jvm) -> None:
    path = jvm.shelf.folder / "org/words/words/1.0/words-1.0.jar"
    path.write_bytes(path.read_bytes() + b"tampered")
    with pytest.raises(StoreError, match="Checksum validation failed"):
        jvm.lock()


def test_maven_s_own_copy_is_not_believed(jvm: Jvm) -> None:
    jvm.lock()
    path = jvm.here.cache.root / "maven/org/words/words/1.0/words-1.0.jar"
    path.write_bytes(path.read_bytes() + b"tampered")
    with pytest.raises(VerificationError, match=r"words-1\.0\.jar in the cache is not what its repository has"):
        jvm.lock(upgrade=True)
    assert not jvm.lock(upgrade=True).changes


def test_only_the_named_repositories_are_asked(jvm: Jvm, tmp_path: Path) -> None:
    with serve_shelf(tmp_path / "elsewhere") as other:
        other.jar("com.evil:more")
        jvm.shelf.jar("com.acme:curious", needs=["com.evil:more:1.0"], elsewhere=other.url)
        with pytest.raises(ResolutionError, match=r"com\.evil:more") as caught:
            jvm.lock("com.acme:curious:1.0")
        assert "name the repository that has it" in str(caught.value.hint)
        assert other.requests == []


def test_no_settings_of_a_folder_above_count(jvm: Jvm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files is anybody's, and so is what Maven finds in it."""
    (tmp_path / ".mvn").mkdir()
    (tmp_path / ".mvn/jvm.config").write_text("-XX:NoSuchOption")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    jvm.here.environ["MAVEN_BASEDIR"] = str(tmp_path)
    jvm.here.environ["LC_ALL"] = "C"
    assert len(names(jvm.lock().lock)) == 3


def test_no_variable_of_this_machine_decides_what_is_needed(jvm: Jvm) -> None:
    """Nor is what it holds asked for: the description of any artifact may refer to it."""
    jvm.here.environ["TOKEN"] = "geheim"
    described = jvm.shelf.jar("com.acme:choosy", needs=["org.words:words:1.0"]).with_suffix(".pom")
    section = "<profiles><profile><activation><property><name>env.TOKEN</name></property></activation><dependencies>"
    text = described.read_text().replace("<dependencies>", section)
    text = text.replace("</dependencies>", "</dependencies></profile></profiles>")
    described.write_text(text)
    described.with_name(described.name + ".sha1").write_text(hashlib.sha1(text.encode()).hexdigest())
    assert set(names(jvm.lock("com.acme:choosy:1.0").lock)) == {"com.acme:choosy"}
    jvm.shelf.jar("com.acme:curious", needs=["org.words:words:${env.TOKEN}"])
    with pytest.raises((ResolutionError, StoreError)) as caught:
        jvm.lock("com.acme:curious:1.0")
    assert "geheim" not in str(caught.value)
    assert not [one for one in jvm.shelf.requests if "geheim" in one]


def test_an_empty_machine_builds_without_maven(jvm: Jvm) -> None:
    project = jvm.project()
    lock(project, jvm.context)
    digest = plan(project, jvm.context).descriptor.digest
    shutil.rmtree(jvm.here.cache.root)
    jvm.shelf.requests.clear()
    assert build(project, jvm.context).plan.descriptor.digest == digest
    assert sorted(jvm.shelf.requests) == [
        "/maven/com/acme/churn/1.0/churn-1.0.jar",
        "/maven/com/acme/scoring/1.0/scoring-1.0.jar",
        "/maven/org/words/words/1.0/words-1.0.jar",
    ]
    assert not (jvm.here.cache.root / "maven").exists()
    shutil.rmtree(jvm.here.cache.root)
    shutil.rmtree(jvm.here.root / ".lockship")
    jvm.shelf.jar(CHURN, files={"Other.class": "other"})
    with pytest.raises(VerificationError, match=r"churn-1\.0\.jar from .* is not what was locked"):
        build(project, jvm.context)
    shutil.rmtree(jvm.shelf.folder / "com/acme/churn")
    with pytest.raises((ArtifactError, StoreError), match=r"churn"):
        build(project, jvm.context)


def test_code_does_not_replace_a_jar(jvm: Jvm) -> None:
    jvm.here.write("own.jar", "own")
    project = jvm.project(image='files = [{ source = "own.jar", target = "/app/lib/churn-1.0.jar" }]')
    lock(project, jvm.context)
    with pytest.raises(
        ProjectError, match=r"\[image\] files and \[java\] artifacts both have /app/lib/churn-1\.0\.jar"
    ):
        plan(project, jvm.context)


def test_the_bill_names_jars_by_their_package_urls(jvm: Jvm) -> None:
    jvm.shelf.jar("com.acme:native:linux")
    project = jvm.project("com.acme:native:1.0:linux", f"{CHURN}:1.0")
    lock(project, jvm.context)
    prepared = prepare(project, jvm.context)
    components = components_of(prepared, prepared.plan.images[0])
    found = {one.name: package_url(one) for one in components if one.kind == "maven"}
    assert found[CHURN] == "pkg:maven/com.acme/churn@1.0?type=jar"
    assert found["com.acme:native:linux"] == "pkg:maven/com.acme/native@1.0?classifier=linux&type=jar"


def test_no_java_is_said_once_and_is_no_error(jvm: Jvm) -> None:
    jvm.lock()
    assert [one for one in jvm.heard.warnings if "default-jre-headless" in one]


def test_a_bundle_brings_the_jars(jvm: Jvm, tmp_path: Path) -> None:
    project = jvm.project()
    lock(project, jvm.context)
    export_bundle(project, jvm.context, tmp_path / "churn.bundle")
    jars = [one.digest for one in lock(project, jvm.context).lock.platforms[0].jars]
    shutil.rmtree(jvm.here.cache.root)
    import_bundle(tmp_path / "churn.bundle", jvm.context, project)
    assert [one for one in jars if jvm.here.cache.blob(one) is None] == []


def test_docker_build_is_not_for_jars(jvm: Jvm) -> None:
    with pytest.raises(UsageError, match=r"\[java\] artifacts can't be exported"):
        export_dockerfile(jvm.project(), jvm.context, jvm.here.folder / "context")


def test_a_project_without_java_loses_its_jars(jvm: Jvm) -> None:
    jvm.lock()
    report = lock(jvm.here.project(), jvm.context)
    assert {change.kind for change in report.changes} == {"jar"}
    assert "maven" not in report.lock.tools
    assert json.loads(jvm.here.run("lock", "--json").out)["platforms"]["linux/amd64"].get("jars") is None
