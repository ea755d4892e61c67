"""The files that no package holds."""

from __future__ import annotations

import hashlib
import io

import pytest

from builder.layers import system, tar
from builder.layers.encode import encode
from builder.layers.recipe import Part


def entries(user: int = 65532, architecture: str = "amd64") -> dict[str, tar.Entry]:
    part = Part("system", "system", params={"user": user, "architecture": architecture})
    return {one.path: one for one in tar.arrange(system.entries(part))}


def text(found: dict[str, tar.Entry], path: str) -> list[str]:
    content = found[path].content
    assert isinstance(content, bytes)
    return content.decode().splitlines()


@pytest.mark.parametrize(("architecture", "there"), [("amd64", True), ("arm64", False)])
def test_the_merge_of_usr(architecture: str, there: bool) -> None:
    found = entries(architecture=architecture)
    for name in ("bin", "lib", "sbin"):
        assert found[name] == tar.symlink(name, f"usr/{name}")
    assert ("lib64" in found) is there


def test_the_user() -> None:
    found = entries()
    assert text(found, "etc/passwd")[0] == "root:x:0:0:root:/root:/usr/sbin/nologin"
    assert text(found, "etc/passwd")[-1] == "app:x:65532:65532:app:/home/app:/usr/sbin/nologin"
    assert text(found, "etc/group")[-1] == "app:x:65532:"
    assert found["home/app"] == tar.directory("home/app", 0o755, 65532, 65532)
    assert found["home"] == tar.directory("home")


def test_root_needs_no_other_user() -> None:
    found = entries(0)
    assert not any(line.startswith("app:") for name in ("passwd", "group") for line in text(found, f"etc/{name}"))
    assert "home/app" not in found


@pytest.mark.parametrize("user", [1, 33, 50, 1000, 65532, 65534, 2**31 - 1])
def test_every_id_has_one_name(user: int) -> None:
    found = entries(user)
    for name, column in (("passwd", 2), ("group", 2)):
        rows = [line.split(":") for line in text(found, f"etc/{name}")]
        for key in (0, column):
            values = [row[key] for row in rows]
            assert len(values) == len(set(values))
        assert any(row[0] == "app" and row[2] == str(user) for row in rows)


def test_the_folders() -> None:
    found = entries()
    assert (found["tmp"].mode, found["var/tmp"].mode, found["run"].mode, found["app"].mode) == (
        0o1777,
        0o1777,
        0o755,
        0o755,
    )
    assert found["etc/localtime"].link == "/usr/share/zoneinfo/Etc/UTC"
    assert found["var/lib/dpkg/status"].size == 0
    assert "hosts:          files dns" in text(found, "etc/nsswitch.conf")
    assert not {"etc/shadow", "etc/os-release", "etc/hosts", "etc/resolv.conf"} & found.keys()


@pytest.mark.parametrize(
    ("user", "architecture", "digest"),
    [(65532, "amd64", "632f9c0d75fc2bad"), (0, "arm64", "5701b2875173deaf")],
)
def test_golden(user: int, architecture: str, digest: str) -> None:
    sink = io.BytesIO()
    encode(entries(user, architecture).values(), sink, compress=False)
    assert hashlib.sha256(sink.getvalue()).hexdigest()[:16] == digest
