"""Maven's part of locking without Maven: what it is asked, what it answers, and where jars are fetched from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.errors import (
    ArtifactError,
    LockError,
    ProjectError,
    ResolutionError,
    StoreError,
    UsageError,
    VerificationError,
)
from builder.lock.maven import FoundJar, file_names, pom, read_listing, repository_path
from builder.lock.maven_fetch import fetch_jars
from builder.lock.maven_settings import BLOCKED, MavenRepository, read_settings, repositories_of
from builder.lock.pins import Artifact
from builder.network import Network
from tests.support.maven import Shelf, serve_shelf
from tests.support.progress import Heard

REPO = Path("/cache/maven")
CENTRAL = repositories_of(())[0]


def test_repositories_that_maven_takes_for_one() -> None:
    assert len(repositories_of(["https://m.example.com/a/b", "https://m.example.com/a/b/", "http://other/a"])) == 3
    with pytest.raises(ProjectError, match=r"to it both are m\.example\.com-a-b"):
        repositories_of(["https://m.example.com/a/b", "https://m.example.com/a-b"])
    for taken in ("central", BLOCKED):
        with pytest.raises(ProjectError, match=f"to it both are {taken}"):
            repositories_of([f"https://{taken}/"])


def test_a_project_that_needs_nothing_else() -> None:
    space = "{http://maven.apache.org/POM/4.0.0}"
    made = ElementTree.fromstring(pom(["a.b:c:1.0", "d:e:2:linux"], repositories_of(["https://m.example.com/r&d/"])))
    needed = [[child.text for child in one] for one in made.iter(f"{space}dependency")]
    assert needed == [["a.b", "c", "1.0"], ["d", "e", "2", "linux"]]
    asked = [(one.findtext(f"{space}id"), one.findtext(f"{space}url")) for one in made.iter(f"{space}repository")]
    assert asked == [
        ("m.example.com-r-d", "https://m.example.com/r&d"), ("central", "https://repo.maven.apache.org/maven2"),
    ]  # fmt: skip


def line(name: str, version: str, kind: str = "jar", scope: str = "compile") -> str:
    group, artifact, *classifier = name.split(":")
    path = REPO / repository_path(name, version)
    return f"   {':'.join((group, artifact, kind, *classifier, version, scope))}:{path}"


def test_maven_s_answer() -> None:
    text = "\n".join([
        "", "The following files have been resolved:", line("org.b:x", "2.0", scope="runtime"),
        line("com.a:y:linux", "1.0") + " -- module com.a.y (auto)", line("g:all", "1", "pom"), "",
    ])  # fmt: skip
    assert read_listing(text, REPO) == (
        FoundJar("com.a:y:linux", "1.0", REPO / "com/a/y/1.0/y-1.0-linux.jar"),
        FoundJar("org.b:x", "2.0", REPO / "org/b/x/2.0/x-2.0.jar"),
    )
    assert read_listing("\nThe following files have been resolved:\n   none\n", REPO) == ()


def test_what_cannot_be_locked_is_refused() -> None:
    with pytest.raises(ResolutionError, match=r"com\.a:y 1\.0-SNAPSHOT is a SNAPSHOT"):
        read_listing(line("com.a:y", "1.0-SNAPSHOT"), REPO)
    with pytest.raises(ResolutionError, match=r"y-1\.0\.so \(so\), and only jars can be locked"):
        read_listing(line("com.a:y", "1.0", "so").replace(".jar", ".so"), REPO)
    for name, version in (("com.a:y", "1.0~rc1"), ("com.a:y!", "1.0")):
        with pytest.raises(ResolutionError, match="a lock has no such names"):
            read_listing(line(name, version), REPO)
    with pytest.raises(LockError, match="isn't understood: something else"):
        read_listing("something else", REPO)


def test_two_jars_of_one_file_name_get_their_groups() -> None:
    jars = [FoundJar(name, "1.0", REPO / repository_path(name, "1.0")) for name in ("a.b:core", "c:core", "c:other")]
    assert file_names(jars) == {
        "a.b:core": "a.b.core-1.0.jar", "c:core": "c.core-1.0.jar", "c:other": "other-1.0.jar",
    }  # fmt: skip


@pytest.mark.parametrize("jars", [("g:a 1-b", "g:a:b 1"), ("x:a 1", "y:a 1", "z:x.a 1")])
def test_no_jar_takes_the_place_of_another(jars: tuple[str, ...]) -> None:
    found = [FoundJar(name, version, REPO / repository_path(name, version)) for name, version in map(str.split, jars)]
    with pytest.raises(ResolutionError, match=r"would both be (g\.a-1-b|x\.a-1)\.jar in the image"):
        file_names(found)


SETTINGS = """<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">
<localRepository>/shared</localRepository><offline>true</offline>
<mirrors><mirror><id>m</id><mirrorOf>{of}</mirrorOf><url>https://mirror.example.com/maven/</url></mirror></mirrors>
<servers><server><id>m</id><username>ada</username><password>${{env.SECRET}}</password></server></servers>
<profiles><profile><id>p</id><repositories><repository><id>r</id></repository></repositories></profile></profiles>
<activeProfiles><activeProfile>p</activeProfile></activeProfiles>
</settings>"""


def settings(home: Path, of: str = "*") -> dict[str, str]:
    (home / ".m2").mkdir()
    (home / ".m2/settings.xml").write_text(SETTINGS.format(of=of))
    return {"HOME": str(home)}


def test_of_the_user_s_settings_only_how_to_reach_repositories_is_taken(tmp_path: Path) -> None:
    made = ElementTree.fromstring(read_settings(settings(tmp_path)).render([CENTRAL]))
    assert [one.tag for one in made] == ["mirrors", "proxies", "servers"]
    assert [one.findtext("mirrorOf") for one in made.iter("mirror")] == ["*", "*,!central"]
    assert [one.findtext("blocked") for one in made.iter("mirror")] == [None, "true"]
    assert made.findtext("servers/server/password") == "${env.SECRET}"


@pytest.mark.parametrize(
    ("of", "reached"),
    [
        ("*", True), ("central", True), ("external:*", True), ("x,central", True),
        ("*,!central", False), ("other", False),
    ],
)  # fmt: skip
def test_a_mirror_answers_for_what_it_mirrors(tmp_path: Path, of: str, reached: bool) -> None:
    mirror = "https://mirror.example.com/maven"
    assert read_settings(settings(tmp_path, of)).reached(CENTRAL) == (mirror if reached else CENTRAL.url)
    assert read_settings({"HOME": str(tmp_path / "nobody")}).reached(CENTRAL) == CENTRAL.url


def test_a_mirror_s_address_may_hold_a_variable_as_in_maven(tmp_path: Path) -> None:
    environ = settings(tmp_path)
    file = tmp_path / ".m2/settings.xml"
    file.write_text(file.read_text().replace("mirror.example.com", "${env.NEXUS}"))
    assert read_settings({**environ, "NEXUS": "nexus.lab"}).reached(CENTRAL) == "https://nexus.lab/maven"
    assert b"geheim&amp;" in read_settings({**environ, "SECRET": "geheim&"}).render([CENTRAL])
    with pytest.raises(LockError, match=r"the mirror for central in ~/\.m2/settings\.xml has no address"):
        read_settings(environ).reached(CENTRAL)
    for wrong in ("ada:geheim@[host", "ada:geheim@host:port", "ada:geheim@host..lab"):
        with pytest.raises(LockError) as caught:
            read_settings({**environ, "NEXUS": wrong}).reached(CENTRAL)
        assert "geheim" not in str(caught.value)


def test_this_machine_is_not_external(tmp_path: Path) -> None:
    here = MavenRepository("here", "http://127.0.0.1:8081/r")
    assert read_settings(settings(tmp_path, "external:*")).reached(here) == here.url


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2/settings.xml").write_text("<settings>")
    with pytest.raises(LockError) as caught:
        read_settings({"HOME": str(tmp_path)})
    assert caught.value.file == str(tmp_path / ".m2/settings.xml")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with serve_shelf(tmp_path / "shelf") as served:
        yield served


def locked(path: Path, name: str = "com.acme:churn") -> Artifact:
    data = path.read_bytes()
    return Artifact("jar", name, "1.0", path.name, Digest.of(data), len(data), folder="/app/lib")


def fetch(jar: Artifact, cache: Cache, *repositories: str) -> None:
    fetch_jars([jar], repositories, network=Network(retries=0), cache=cache, progress=Heard())


def test_a_locked_jar_comes_from_the_repository_that_has_it(shelf: Shelf, cache: Cache) -> None:
    jar = locked(shelf.jar("com.acme:churn:linux"), "com.acme:churn:linux")
    fetch(jar, cache, f"{shelf.url}/nothing-here", shelf.url)
    assert cache.checked(jar.digest) is not None
    path = "com/acme/churn/1.0/churn-1.0-linux.jar"
    assert shelf.requests == [f"/maven/nothing-here/{path}", f"/maven/{path}"]
    fetch(jar, cache, shelf.url)
    assert len(shelf.requests) == 2  # what is there is not asked for again


def test_a_repository_that_fails_does_not_hide_the_next_one(shelf: Shelf, cache: Cache) -> None:
    """The sum says whether it is the jar; and Maven asks the next one, too."""
    jar = locked(shelf.jar("com.acme:churn"))
    with pytest.raises(StoreError, match="cannot be had from 127"):
        fetch(jar, cache, "http://127.0.0.1:1/maven", f"{shelf.url}/nothing-here")
    fetch(jar, cache, "http://127.0.0.1:1/maven", shelf.url)
    assert cache.checked(jar.digest) is not None


def test_a_jar_that_was_tampered_with_is_refused(shelf: Shelf, cache: Cache) -> None:
    path = shelf.jar("com.acme:churn")
    jar = locked(path)
    path.write_bytes(path.read_bytes().replace(b"churn", b"CHURN"))
    with pytest.raises(VerificationError, match=r"churn-1\.0\.jar from .* is not what was locked"):
        fetch(jar, cache, shelf.url)
    assert cache.blob(jar.digest) is None


def test_a_jar_that_nobody_has_is_named(shelf: Shelf, cache: Cache) -> None:
    jar = locked(shelf.jar("com.acme:churn"))
    with pytest.raises(ArtifactError, match=r"com\.acme:gone 1\.0 is in none of http://127"):
        fetch(Artifact("jar", "com.acme:gone", "1.0", "gone-1.0.jar", jar.digest, 1), cache, shelf.url)
    with pytest.raises(UsageError):
        fetch(jar, cache, "http://repository.example.com/maven")
