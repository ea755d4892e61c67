"""Which apt sources are used, and that apt's own machinery stays isolated and distrustful."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.content import Digest, Platform
from builder.errors import LockError, ProjectError, StoreError, VerificationError
from builder.lock import sources
from builder.lock.apt import Apt, Download
from builder.project import Source
from tests.support.apt_repository import AptRepository, Key, fill, serve
from tests.support.progress import Heard
from tests.support.require import need

AMD64 = Platform.parse("linux/amd64")

SOURCES = """\
# the main archive
Types: deb deb-src
# a comment in the middle
URIs: https://user:secret@deb.example.com/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Architectures: amd64
Signed-By: /usr/share/keyrings/one.gpg
Check-Valid-Until: no

Enabled: no
Types: deb
URIs: https://off.example.com/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: https://src.example.com/debian
Suites: bookworm
Components: main
"""


def chosen(
    folder: Path, suite: str = "bookworm", heard: Heard | None = None, wanted: tuple[Source, ...] = ()
) -> tuple[sources.Repository, ...]:
    return sources.choose(
        suite,
        wanted,
        root=folder,
        list_file=folder / "sources.list",
        parts=folder / "sources.list.d",
        progress=heard or Heard(),
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822_sources_are_filtered_to_the_suite(host: Path) -> None:
    (host / "sources.list.d/debian.sources").write_text(SOURCES)
    heard = Heard()
    (only,) = chosen(host, heard=heard)
    assert only.uris == ("https://user:secret@deb.example.com/debian",)
    assert only.suites == ("bookworm", "bookworm-updates")
    assert only.components == ("main", "contrib")
    assert only.render() == (
        "Types: deb\nURIs: https://user:secret@deb.example.com/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main contrib\nCheck-Valid-Until: no\nSigned-By: /usr/share/keyrings/one.gpg\n"
    )
    assert "secret" not in repr(only)
    assert heard.warnings == ["this machine's apt sources lack bookworm-security: the base may miss security fixes"]


def test_one_line_sources(host: Path) -> None:
    (host / "sources.list").write_text(
        "deb [arch=amd64,arm64 signed-by=/k.gpg] http://deb.example.com/debian bookworm main # the archive\n"
        "deb http://deb.example.com/debian-security bookworm-security main\n"
        "deb-src http://deb.example.com/debian bookworm main\n"
        "# deb http://off.example.com/debian bookworm main\n"
        "deb cdrom:[Debian]/ bookworm main\n"
        "deb http://apps.example.com/linux/debian bookworm stable\n"
    )
    heard = Heard()
    first, second = chosen(host, heard=heard)
    assert (first.uris, first.suites, first.components) == (
        ("http://deb.example.com/debian",),
        ("bookworm",),
        ("main",),
    )
    assert (first.signed_by, second.signed_by) == ("/k.gpg", "")
    assert second.suites == ("bookworm-security",)
    assert not heard.warnings


def test_another_suite_of_the_same_archive_is_derived_and_said(host: Path) -> None:
    (host / "sources.list").write_text(
        "deb [signed-by=/k.gpg] http://u:p@deb.example.com/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://deb.example.com/debian-security bookworm-security main\n"
        "deb http://apps.example.com/ bookworm main\n"
    )
    heard = Heard()
    first, second = chosen(host, "trixie", heard)
    assert (first.suites, second.suites) == (("trixie",), ("trixie-security",))
    assert first.signed_by == "/k.gpg"
    assert "no apt source for trixie" in heard.notes[0]
    assert "u:p" not in heard.notes[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.list", "deb [trusted=yes] file:///srv/debian bookworm main\n"),
        ("a.list", "deb [ allow-insecure=yes ] file:///srv/debian bookworm main\n"),
        ("a.sources", "Types: deb\nURIs: file:///srv/debian\nSuites: bookworm\nComponents: main\nTrusted: yes\n"),
    ],
)
def test_unsigned_sources_of_the_machine_are_refused(host: Path, name: str, text: str) -> None:
    (host / "sources.list.d" / name).write_text(text)
    with pytest.raises(LockError, match="without checking signatures") as caught:
        chosen(host)
    assert caught.value.exit_code == 3
    assert caught.value.file == str(host / "sources.list.d" / name)
    assert "signed-by" in (caught.value.hint or "")


def test_saying_that_a_source_is_not_trusted_is_harmless(host: Path) -> None:
    (host / "sources.list").write_text("deb [trusted=no] http://deb.example.com/debian bookworm main\n")
    assert "rusted" not in sources.rendered(chosen(host))


def test_no_source_says_what_to_add(host: Path) -> None:
    with pytest.raises(LockError, match="no apt source of this machine serves bookworm") as caught:
        chosen(host)
    assert "[[image.sources]]" in (caught.value.hint or "")


def test_the_projects_sources_win(host: Path) -> None:
    (host / "sources.list").write_text("deb http://deb.example.com/debian bookworm main\n")
    (host / "keys.gpg").write_bytes(b"key")
    source = Source(uri="file:///srv/mirror", suites=("{suite}", "{suite}-updates"), keyring="keys.gpg")
    (only,) = chosen(host, wanted=(source,))
    assert only.suites == ("bookworm", "bookworm-updates")
    assert only.signed_by == str(host / "keys.gpg")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(uri="deb.example.com/debian"), "is not a URI"),
        (Source(uri="https://u:secret@h/x\nTrusted: yes"), "is not a URI"),
        (Source(uri="https://h/x", suites=("a\nTrusted: yes",)), "not the name of a suite"),
        (Source(uri="https://h/x", components=("",)), "not the name of a suite"),
        (Source(uri="https://h/x", keyring="nowhere.gpg"), "no keyring nowhere.gpg"),
    ],
)
def test_sources_of_the_project_that_can_not_be_right(host: Path, source: Source, message: str) -> None:
    with pytest.raises(ProjectError, match=message) as caught:
        chosen(host, wanted=(source,))
    assert caught.value.exit_code == 2
    assert "secret" not in str(caught.value)


def test_credentials_are_stripped() -> None:
    assert sources.strip_credentials("at https://u:p@h/x and ftp://v@i") == "at https://h/x and ftp://i"


def test_without_apt_the_alternatives_are_named(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="which this machine lacks") as caught:
        Apt(AMD64, {"PATH": str(tmp_path)})
    assert "container" in (caught.value.hint or "")


# from here on with apt itself


@pytest.fixture(scope="module")
def key() -> Iterator[Key]:
    need("apt and gpg", shutil.which("apt-get") and shutil.which("gpg"), "this machine lacks them")
    with Key() as made:
        yield made


@pytest.fixture
def repository(tmp_path: Path, key: Key) -> AptRepository:
    made = AptRepository(tmp_path / "archive", key)
    fill(made)
    key.export(tmp_path / "keys.gpg")
    return made


def environment(tmp_path: Path, configuration: str = "") -> dict[str, str]:
    """The machine's environment with more apt configuration, as an administrator would write it."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    (tmp_path / "apt.conf").write_text(configuration)
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "APT_CONFIG": str(tmp_path / "apt.conf")}


def updated(repository: AptRepository, uri: str, environ: dict[str, str], key: Path) -> list[str]:
    with Apt(AMD64, environ) as apt:
        apt.use([sources.Repository((uri,), (repository.suite,), ("main",), str(key))])
        apt.update()
        return apt.names("python3")


@pytest.mark.apt
def test_the_machines_hooks_do_not_run_and_its_state_is_left_alone(tmp_path: Path, repository: AptRepository) -> None:
    touched = tmp_path / "touched"
    hooks = "".join(
        f'APT::Update::{when} {{ "touch {touched}"; }};\n'
        for when in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
    )
    state = tmp_path / "state"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    environ = environment(
        tmp_path,
        hooks + f'Dir::State::lists "{state}/lists";\nDir::Cache "{state}/cache";\n'
        'Acquire::AllowInsecureRepositories "true";\n',
    )
    before = sorted(state.rglob("*"))
    assert updated(repository, repository.uri, environ, tmp_path / "keys.gpg") == ["python3.11-minimal"]
    assert not touched.exists()
    assert sorted(state.rglob("*")) == before
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.apt
def test_the_machines_proxy_is_used(tmp_path: Path, repository: AptRepository) -> None:
    with serve(repository.root) as proxy:
        environ = environment(tmp_path, f'Acquire::http::Proxy::deb.example.invalid "{proxy}";\n')
        uri = "http://deb.example.invalid/"
        assert updated(repository, uri, environ, tmp_path / "keys.gpg") == ["python3.11-minimal"]


@pytest.mark.apt
def test_an_armoured_key_in_the_sources_works(tmp_path: Path, repository: AptRepository, key: Key) -> None:
    (tmp_path / "sources.list.d").mkdir()
    block = "".join(f" {line or '.'}\n" for line in key.armoured().splitlines())
    (tmp_path / "sources.list.d/x.sources").write_text(
        f"Types: deb\nURIs: {repository.uri}\nSuites: bookworm\nComponents: main\nSigned-By:\n{block}"
    )
    with Apt(AMD64, environment(tmp_path)) as apt:
        apt.use(chosen(tmp_path))
        apt.update()
        assert apt.known(["netbase", "nope"]) == {"netbase"}


def _unsigned(repository: AptRepository) -> None:
    (repository.dist / "InRelease").unlink()


def _changed_release(repository: AptRepository) -> None:
    path = repository.dist / "InRelease"
    path.write_text(path.read_text().replace("Components: main", "Components: main contrib"))


def _changed_index(repository: AptRepository) -> None:
    path = repository.dist / "main/binary-amd64/Packages"
    path.write_text(path.read_text().replace("Version: 6.4", "Version: 6.5"))


def _longer_index(repository: AptRepository) -> None:
    path = repository.dist / "main/binary-amd64/Packages"
    path.write_text(path.read_text() + "\nPackage: evil\nVersion: 1\n")


@pytest.mark.apt
@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (_unsigned, "signature of a package index is refused"),
        (_changed_release, "signature of a package index is refused"),
        (_changed_index, "not what its signature covers"),
        (_longer_index, "not what its signature covers"),
    ],
)
@pytest.mark.parametrize("over_http", [False, True])
def test_a_tampered_repository_is_refused(
    tmp_path: Path, repository: AptRepository, tamper: object, message: str, over_http: bool
) -> None:
    assert callable(tamper)
    tamper(repository)
    with serve(repository.root) as url, pytest.raises(VerificationError, match=message) as caught:
        uri = url if over_http else repository.uri
        updated(repository, uri, environment(tmp_path), tmp_path / "keys.gpg")
    assert caught.value.exit_code == 6
    assert re.search("archive|127.0.0.1", caught.value.message)  # names the repository
    assert caught.value.hint
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.apt
def test_another_key_is_refused(tmp_path: Path, repository: AptRepository) -> None:
    with Key() as other, pytest.raises(VerificationError, match=r"NO_PUBKEY|Missing key") as caught:
        updated(repository, repository.uri, environment(tmp_path), other.export(tmp_path / "other.gpg"))
    assert "keyring" in (caught.value.hint or "")


@pytest.mark.apt
def test_a_suite_that_is_not_there(tmp_path: Path, repository: AptRepository) -> None:
    repository.suite = "trixie"
    with pytest.raises(LockError, match=r"lacks what the base needs.*trixie") as caught:
        updated(repository, repository.uri, environment(tmp_path), tmp_path / "keys.gpg")
    assert caught.value.exit_code == 3


@pytest.mark.apt
def test_a_mirror_that_is_down(tmp_path: Path, repository: AptRepository) -> None:
    environ = environment(tmp_path, 'Acquire::Retries "0";\n')
    with pytest.raises(StoreError, match="cannot read a package index") as caught:
        updated(repository, "http://u:secret@127.0.0.1:1/debian", environ, tmp_path / "keys.gpg")
    assert caught.value.exit_code == 5
    assert "secret" not in str(caught.value)


@pytest.mark.apt
def test_downloads_say_why_each_failed(tmp_path: Path, repository: AptRepository) -> None:
    there = repository.pool("netbase", "6.4", "all")
    data = there.read_bytes()
    done: list[int] = []
    with serve(repository.root) as url, Apt(AMD64, environment(tmp_path)) as apt:
        base = f"{url}/pool/main/n/netbase"
        wanted = [
            Download(f"{base}/netbase_6.4_all.deb", apt.folder / "a", Digest.of(data), len(data)),
            Download(f"{base}/netbase_6.4_all.deb", apt.folder / "b", Digest.of(b"other"), len(data)),
            Download(f"{base}/nope.deb", apt.folder / "c", Digest.of(b""), 7),
        ]
        reasons = apt.download(wanted, done.append)
        assert (apt.folder / "a").read_bytes() == data
        assert reasons.keys() == {apt.folder / "b", apt.folder / "c"}
        assert "Hash Sum mismatch" in reasons[apt.folder / "b"]
        assert "404" in reasons[apt.folder / "c"]
    assert sum(done) >= len(data)
