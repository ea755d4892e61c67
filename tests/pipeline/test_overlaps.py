"""What lies on what: nothing in an image replaces anything else unseen."""

from __future__ import annotations

import pytest

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ProjectError
from builder.layers import tar
from builder.lock.file import LockedPlatform
from builder.lock.pins import Artifact
from builder.pipeline.overlaps import JARS, jar_entries, stack

BASE = ("the base", [tar.directory("app"), tar.directory("home/app", 0o755, 7, 7), tar.file("etc/passwd", b"root")])


def group(name: str, *entries: tar.Entry) -> tuple[str, list[tar.Entry]]:
    return name, tar.arrange(entries)


def test_each_group_is_what_it_adds() -> None:
    model = group("model.onnx", tar.file("app/model.onnx", b"1"))
    code = group("files", tar.file("app/model.onnx", b"1"), tar.file("app/a.py", b"2"), tar.symlink("app/l", "a.py"))
    first, second = stack([BASE], [model, code])
    assert [entry.path for entry in first] == ["app", "app/model.onnx"]
    assert [entry.path for entry in second] == ["app", "app/a.py", "app/l"]


def test_a_group_that_adds_nothing_is_empty() -> None:
    model = group("model.onnx", tar.file("app/deep/model.onnx", b"1"))
    assert stack([BASE], [model, model])[1] == ()


def test_folders_keep_the_owner_they_have() -> None:
    (found,) = stack([BASE], [group("files", tar.file("home/app/.config/x", b""))])
    assert {entry.path: entry.uid for entry in found} == {
        "home": 0,
        "home/app": 7,
        "home/app/.config": 0,
        "home/app/.config/x": 0,
    }


def test_jars_replace_no_link_of_the_base(cache: Cache) -> None:
    jar = Artifact("jar", "com.acme:churn", "1.0", "churn-1.0.jar", Digest.of(b"jar"), 3, folder="/app/lib")
    locked = LockedPlatform(Platform("linux", "amd64"), "3.11.2", "2.36", "", (), (), (), jars=(jar,))
    jars = (JARS, jar_entries(locked, cache))
    assert [one.path for one in stack([BASE], [jars])[0]] == ["app", "app/lib", "app/lib/churn-1.0.jar"]
    with pytest.raises(ProjectError, match=r"\[java\] artifacts and the base both have /app, ") as caught:
        stack([("the base", [tar.symlink("app", "srv/app")])], [jars])
    assert "destination" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (tar.file("app/x", b"1"), tar.file("app/x", b"2")),
        (tar.file("app/x", b"1"), tar.file("app/x", b"longer")),
        (tar.file("app/x", b"1"), tar.file("app/x/y", b"1")),
        (tar.file("app/x/y", b"1"), tar.file("app/x", b"1")),
        (tar.file("app/x/y", b"1"), tar.symlink("app/x", "elsewhere")),
        (tar.symlink("app/x", "one"), tar.symlink("app/x", "two")),
        (tar.file("app/x", b""), tar.file("etc/passwd", b"me")),
        (tar.file("app/x", b""), tar.file("app", b"me")),
        (tar.file("app/x", b""), tar.file("etc/passwd/me", b"me")),
    ],
)
def test_anything_else_is_an_error_that_names_both(first: tar.Entry, second: tar.Entry) -> None:
    with pytest.raises(ProjectError, match=r"two.* and (one|the base) both have /") as caught:
        stack([BASE], [group("one", first), group("two", second)])
    assert caught.value.hint
    assert caught.value.exit_code == 2
