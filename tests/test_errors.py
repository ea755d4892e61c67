from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from builder import errors
from builder.errors import LockshipError


def everything(kind: type[LockshipError] = LockshipError) -> list[type[LockshipError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in everything(child))]


TREE = [kind for kind in everything() if kind.__module__ == "builder.errors"]


def test_all_kinds_are_exported() -> None:
    assert sorted(errors.__all__) == sorted(kind.__name__ for kind in TREE)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"(?m)^([ │├└─]*)(\w+Error)\s+(\d)", errors.__doc__ or "")
    path: list[str] = []
    for indent, name, code in drawn:
        kind = getattr(errors, name)
        depth = len(indent) // 4 - 1  # the drawing itself is indented
        path = [*path[:depth], name]
        assert kind.exit_code == int(code)
        if depth:
            assert kind.__bases__ == (getattr(errors, path[depth - 1]),)
    assert len(drawn) == len(TREE)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.ProjectError, 2),
        (errors.LockError, 3),
        (errors.StaleLockError, 3),
        (errors.ResolutionError, 3),
        (errors.ArtifactError, 3),
        (errors.ModelError, 4),
        (errors.StoreError, 5),
        (errors.VerificationError, 6),
        (errors.RefusedError, 7),
        (LockshipError, 1),
    ],
)
def test_exit_codes(kind: type[LockshipError], code: int) -> None:
    assert kind("x").exit_code == code


def test_where_comes_first() -> None:
    assert str(LockshipError("is wrong")) == "is wrong"
    assert str(LockshipError("is wrong", file=Path("a.toml"))) == "a.toml: is wrong"
    assert str(LockshipError("is wrong", file="a.toml", line=3)) == "a.toml:3: is wrong"
    assert "hint" not in str(LockshipError("is wrong", hint="a hint"))


@pytest.mark.parametrize("kind", TREE)
def test_errors_cross_process_boundaries_whole(kind: type[LockshipError]) -> None:
    error = kind("message", hint="hint", file=Path("x.toml"), line=7)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (back.message, back.hint, back.file, back.line) == ("message", "hint", "x.toml", 7)
    assert str(back) == str(error)
