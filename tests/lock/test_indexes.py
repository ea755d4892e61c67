"""pip's configuration and what indexes answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import StoreError, UsageError
from builder.lock.indexes import PYPI, Indexes, from_environment
from builder.lock.simple import parse_page
from builder.network import Network
from tests.support.index import serve_index
from tests.support.wheels import make_sdist, make_wheel

SECRET = "s3cr3t-t0ken"


def configured(home: Path, files: Mapping[str, str], **environ: str) -> Indexes:
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return from_environment({"XDG_CONFIG_DIRS": str(home / "xdg"), "HOME": str(home), **environ}, home=home)


def bare(home: Path, **environ: str) -> Indexes:
    """Without any configuration file."""
    return from_environment({"PIP_CONFIG_FILE": os.devnull, "HOME": str(home), **environ}, home=home)


def test_without_configuration_it_is_pypi(tmp_path: Path) -> None:
    found = bare(tmp_path)
    assert (found.urls, found.links, found.network.timeout, found.network.retries) == ((PYPI,), (), 15.0, 5)


def test_files_are_weaker_the_farther_they_are(tmp_path: Path) -> None:
    files = {
        "xdg/pip/pip.conf": "[global]\nindex-url = https://global/simple\nretries = 1\ntimeout = 7\n",
        ".pip/pip.conf": "[global]\nindex-url = https://legacy/simple\nretries = 2\n",
        ".config/pip/pip.conf": "[global]\nindex_url = https://user/simple\n",
        "venv/pip.conf": "[global]\nextra-index-url =\n    https://a/simple\n    https://b/simple\n",
    }
    found = configured(tmp_path, files, VIRTUAL_ENV=str(tmp_path / "venv"))
    assert found.urls == ("https://a/simple", "https://b/simple", "https://user/simple")
    assert (found.network.retries, found.network.timeout) == (2, 7.0)


def test_a_section_beats_the_files_and_the_environment_beats_all(tmp_path: Path) -> None:
    files = {
        ".config/pip/pip.conf": "[install]\nindex-url = https://install/simple\n[global]\nindex-url = https://g/\n"
    }
    assert configured(tmp_path, files).urls == ("https://install/simple",)
    assert configured(tmp_path, files, PIP_INDEX_URL="https://env/simple").urls == ("https://env/simple",)
    assert configured(tmp_path, files, PIP_INDEX_URL=" ").urls == ("https://install/simple",)


def test_a_named_file_replaces_the_users(tmp_path: Path) -> None:
    files = {
        "xdg/pip/pip.conf": "[global]\nindex-url = https://global/simple\n",
        ".config/pip/pip.conf": "[global]\nindex-url = https://user/simple\nretries = 9\n",
        "own.conf": "[global]\nretries = 3\n",
    }
    found = configured(tmp_path, files, PIP_CONFIG_FILE=str(tmp_path / "own.conf"))
    assert (found.urls, found.network.retries) == (("https://global/simple",), 3)
    assert configured(tmp_path, files, PIP_CONFIG_FILE=os.devnull).urls == (PYPI,)


def test_we_read_what_pip_reads(tmp_path: Path) -> None:
    """pip itself is the judge: `pip config list` merges the same files."""
    conf = "[global]\nindex-url = https://user/simple\ntimeout=60\n[install]\ntrusted-host = a b\n"
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text(conf)
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_EXTRA_INDEX_URL": "https://x/ https://y/"}
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], env=environ, check=True, capture_output=True, text=True
    ).stdout
    found = from_environment(environ, home=tmp_path)
    assert "global.index-url='https://user/simple'" in said and found.default == "https://user/simple"
    assert ":env:.extra-index-url='https://x/ https://y/'" in said and found.extra == ("https://x/", "https://y/")
    assert "install.trusted-host='a b'" in said and found.network.trusted_hosts == ("a", "b")
    assert "global.timeout='60'" in said and found.network.timeout == 60


def test_no_index_leaves_the_links(tmp_path: Path) -> None:
    found = bare(
        tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS="/wheels https://host/page.html", PIP_INDEX_URL="https://a/"
    )
    assert (found.urls, found.links) == ((), ("/wheels", "https://host/page.html"))
    assert bare(tmp_path, PIP_NO_INDEX="false").urls == (PYPI,)
    with pytest.raises(UsageError, match="neither yes nor no"):
        bare(tmp_path, PIP_NO_INDEX="perhaps")


def test_uvs_variables_count_where_pip_says_nothing(tmp_path: Path) -> None:
    uv = {"UV_DEFAULT_INDEX": "https://d/simple", "UV_INDEX": "mine=https://m/simple https://n/simple"}
    login = {"UV_INDEX_MINE_USERNAME": "ann", "UV_INDEX_MINE_PASSWORD": "a/b"}
    found = bare(tmp_path, **uv, **login)
    assert found.urls == ("https://ann:a%2Fb@m/simple", "https://n/simple", "https://d/simple")
    assert bare(tmp_path, **uv, PIP_INDEX_URL="https://pip/simple").urls == ("https://pip/simple",)
    older = bare(tmp_path, UV_INDEX_URL="https://i/simple", UV_EXTRA_INDEX_URL="https://e/simple")
    assert older.urls == ("https://e/simple", "https://i/simple")


def test_a_broken_file_is_named_and_not_quoted(tmp_path: Path) -> None:
    text = f"[global]\nindex-url = https://ann:{SECRET}@host/simple\nnonsense {SECRET}\n"
    with pytest.raises(UsageError, match="configuration cannot be read") as caught:
        configured(tmp_path, {".config/pip/pip.conf": text})
    assert SECRET not in str(caught.value)
    assert str(caught.value.file).endswith("pip.conf")


@pytest.mark.parametrize("setting", ["PIP_TIMEOUT", "PIP_RETRIES"])
def test_numbers_that_make_no_sense(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UsageError, match="not a number that makes sense"):
        bare(tmp_path, **{setting: "soon"})


def test_credentials_never_show(tmp_path: Path) -> None:
    found = bare(
        tmp_path,
        PIP_INDEX_URL=f"https://ann:{SECRET}@host/simple",
        PIP_EXTRA_INDEX_URL=f"https://{SECRET}@other/simple?{SECRET}",
        PIP_FIND_LINKS=f"https://x:{SECRET}@links/page",
        HTTPS_PROXY=f"http://me:{SECRET}@proxy:3128",
    )
    assert SECRET not in repr(found) + str(found) + repr(found.network) + " ".join(found.names) + f"{found!r:s}"
    assert found.network.redact(f"cannot fetch https://ann:{SECRET}@host/simple: {SECRET}!") == (
        "cannot fetch https://host/simple: ****!"
    )


def test_logins_stay_with_their_origin(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine files.host login bob password hunter22\ndefault login d password dddd\n")
    network = bare(
        tmp_path,
        PIP_INDEX_URL="https://ann:one@host/team/simple",
        PIP_EXTRA_INDEX_URL="https://zoe:two@host/other/simple",
    ).network

    def login(url: str) -> str | None:
        import base64

        value = network.authorization(url)
        return None if value is None else base64.b64decode(value.removeprefix("Basic ")).decode()

    assert login("https://host/team/simple/numpy/") == "ann:one"
    assert login("https://host/other/files/x.whl") == "zoe:two"
    assert login("https://HOST:443/team/x") == "ann:one"
    assert login("http://host/team/simple/") is None
    assert login("https://host:8443/team/simple/") is None
    assert login("https://host.evil.com/team/simple/") is None
    assert login("https://files.host/x.whl") == "bob:hunter22"
    assert login("https://elsewhere/x.whl") is None


def test_a_broken_netrc_is_named(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine a login\nnonsense here and there")
    with pytest.raises(UsageError, match="netrc"):
        bare(tmp_path)


def test_proxies(tmp_path: Path) -> None:
    environ = {"HTTPS_PROXY": "http://up:1", "https_proxy": "http://low:1", "NO_PROXY": "localhost, .corp"}
    network = bare(tmp_path, **environ).network
    assert (network.proxies, network.no_proxy) == ({"https": "http://low:1"}, ("localhost", ".corp"))
    assert bare(tmp_path, **environ, no_proxy="*").network.proxies == {}
    chosen = bare(tmp_path, **environ, PIP_PROXY="http://pip:1").network
    assert (chosen.proxies, chosen.no_proxy) == ({"http": "http://pip:1", "https": "http://pip:1"}, ())


def test_certificates_by_precedence(tmp_path: Path) -> None:
    environ = {"SSL_CERT_FILE": "/s", "REQUESTS_CA_BUNDLE": "/r", "PIP_CERT": "/p"}
    assert bare(tmp_path, **environ).network.certificate == "/p"
    del environ["PIP_CERT"]
    assert bare(tmp_path, **environ).network.certificate == "/r"
    del environ["REQUESTS_CA_BUNDLE"]
    assert bare(tmp_path, **environ).network.certificate == "/s"
    with pytest.raises(UsageError, match="the certificates in /nonexistent cannot be used"):
        _ = Network(certificate="/nonexistent").context


@pytest.mark.parametrize("as_json", [True, False])
def test_files_of_an_index(tmp_path: Path, as_json: bool) -> None:
    with serve_index(tmp_path / "index") as index:
        index.json = as_json
        wheel = make_wheel(index.folder, "my.pkg", "1.0", {"x.py": b"x"})
        sdist = make_sdist(index.folder, "my-pkg", "1.0")
        make_wheel(index.folder, "my_pkg_extra", "1.0", {})
        index.yanked.add(wheel.name)
        index.requires_python[wheel.name] = ">=3.8,<4"
        index.login = "ann:pass"
        files = {file.file: file for file in bare(tmp_path, PIP_INDEX_URL=index.with_login("ann:pass")).files("My_Pkg")}
        assert set(files) == {wheel.name, sdist.name}
        one = files[wheel.name]
        assert one.url == f"{index.url}/files/{wheel.name}"
        assert one.digest == Digest.of(wheel.read_bytes())
        assert one.size == (wheel.stat().st_size if as_json else None)
        assert (one.yanked, one.requires_python, one.index) == (True, ">=3.8,<4", index.simple)
        assert files[sdist.name].yanked is False
        assert [request.path for request in index.requests] == ["/simple/my-pkg/"]


def test_a_name_nobody_knows_has_no_files(tmp_path: Path) -> None:
    with serve_index(tmp_path / "index") as index:
        assert bare(tmp_path, PIP_INDEX_URL=index.simple).files("nothing") == ()


def test_folders_are_indexes_too(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels", "pkg", "1.0", {"x.py": b""})
    make_wheel(tmp_path / "wheels", "other", "1.0", {})
    (tmp_path / "wheels" / "notes.txt").write_text("")
    links = f"{tmp_path / 'wheels'} {(tmp_path / 'wheels').as_uri()} /nonexistent"
    found = bare(tmp_path, PIP_FIND_LINKS=links, PIP_NO_INDEX="1")
    files = found.files("pkg")
    assert [file.url for file in files] == [wheel.as_uri()] * 2
    assert files[0].digest == Digest.of(wheel.read_bytes())
    assert found.missing_folders == ("/nonexistent",)


def test_a_page_of_links(tmp_path: Path) -> None:
    with serve_index(tmp_path / "index") as index:
        index.json = False
        make_wheel(index.folder, "pkg", "1.0", {})
        found = bare(tmp_path, PIP_FIND_LINKS=f"{index.simple}/pkg/", PIP_NO_INDEX="1")
        assert [file.file for file in found.files("pkg")] == ["pkg-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"{", "application/vnd.pypi.simple.v1+json", "not understood"),
        (b"[]", "application/vnd.pypi.simple.v1+json", "not understood"),
        (b'{"files": [{"filename": 1}]}', "application/vnd.pypi.simple.v1+json", "not understood"),
        (b'{"files": [], "meta": {"api-version": "2.0"}}', "application/vnd.pypi.simple.v1+json", "speaks version 2.0"),
        (b'<meta name="pypi:repository-version" content="2.1">', "text/html", "speaks version 2.1"),
        (b"hello", "text/plain", "answered text/plain, not a page of an index"),
        (b"<a>", "text/html; charset=klingon", "not understood"),
    ],
)
def test_an_address_that_is_no_index(tmp_path: Path, body: bytes, kind: str, said: str) -> None:
    def answer(handler: object) -> bool:
        handler.reply(200, body, kind, {})  # type: ignore[attr-defined]
        return True

    with serve_index(tmp_path / "index") as index:
        index.answers["pkg"] = answer
        with pytest.raises(StoreError) as caught:
            bare(tmp_path, PIP_INDEX_URL=index.simple).files("pkg")
    assert said in caught.value.message
    assert caught.value.exit_code == 5


def test_a_login_that_is_missing_says_where_it_belongs(tmp_path: Path) -> None:
    with serve_index(tmp_path / "index") as index:
        index.login = "ann:pass"
        with pytest.raises(StoreError, match="401") as caught:
            bare(tmp_path, PIP_INDEX_URL=index.simple).files("pkg")
    assert "~/.netrc: machine 127.0.0.1" in (caught.value.hint or "")


def test_plain_http_only_to_this_machine_or_where_trusted() -> None:
    network = Network(trusted_hosts=("mirror.corp", "other.corp:8080"))
    for url in ("http://127.0.0.1:1/", "http://localhost/", "http://[::1]:3/", "https://any.host/"):
        network.check(url)
    network.check("http://mirror.corp/simple")
    network.check("http://other.corp:8080/simple")
    for url in ("http://pypi.org/simple", "http://other.corp/simple", "http://localhost.evil.com/"):
        with pytest.raises(UsageError, match="plain HTTP"):
            network.check(url)


def test_a_file_address_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not an http or https address"):
        bare(tmp_path, PIP_INDEX_URL="file:///srv/simple").check()


def test_pages_read_as_pypi_simple_reads_them() -> None:
    """A well-kept parser is the judge of ours."""
    from pypi_simple import ProjectPage

    html = (
        '<html><head><base href="https://files.host/a/"><meta name="pypi:repository-version" content="1.3"></head>'
        f'<a href="../b/pkg-1.0-py3-none-any.whl#sha256={"a" * 64}" data-requires-python="&gt;=3.8">'
        "pkg-1.0-py3-none-any.whl</a>"
        '<a href="pkg-1.0%2Bcu1-py3-none-any.whl" data-yanked="broken">pkg-1.0+cu1-py3-none-any.whl</a>'
        f'<A HREF="pkg-1.0.tar.gz#md5={"b" * 32}">pkg-1.0.tar.gz</A></body></html>'
    )
    document = {
        "meta": {"api-version": "1.1"},
        "name": "pkg",
        "files": [
            {"filename": "pkg-1.tar.gz", "url": "../pkg-1.tar.gz", "hashes": {"sha256": "c" * 64}, "size": 7},
            {"filename": "pkg-2.tar.gz", "url": "pkg-2.tar.gz", "hashes": {}, "yanked": "why", "requires-python": ">3"},
        ],
    }
    address = "https://host/simple/pkg/"
    pairs = [
        (parse_page(html.encode(), "text/html", address), ProjectPage.from_html("pkg", html, address)),
        (
            parse_page(json.dumps(document).encode(), "application/vnd.pypi.simple.v1+json", address),
            ProjectPage.from_json_data(document, address),
        ),
    ]
    for ours, theirs in pairs:
        assert [(link.file, link.url, link.sha256, link.size, link.yanked, link.requires_python) for link in ours] == [
            (
                package.filename,
                package.url,
                package.digests.get("sha256", ""),
                package.size,
                package.is_yanked,
                package.requires_python or "",
            )
            for package in theirs.packages
        ]
