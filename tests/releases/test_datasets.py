from __future__ import annotations

import json

import pytest
from hypothesis import given

from builder.content import canonical_json
from builder.errors import VerificationError
from builder.releases.datasets import DataSet, changes, data_sets_from_json
from tests.support.schemas import data_sets, file

SHARED = DataSet(
    name="training",
    role="training",
    sources=("data/*.csv",),
    files=(
        file("data/a.csv", "age int64", "name string", rows=3),
        file("data/b.csv", "age int64", "name string", rows=4),
    ),
)


def lines(old: DataSet | None, new: DataSet | None) -> list[str]:
    return [str(one) for one in changes([old] if old else [], [new] if new else [])]


def test_tables_that_are_alike_have_rows_and_columns_together() -> None:
    assert str(SHARED) == "training: 7 rows, 2 columns, 2 files, 200 B"
    document = SHARED.to_json()
    assert document["rows"] == 7
    assert document["columns"] == [{"name": "age", "dtype": "int64"}, {"name": "name", "dtype": "string"}]
    assert all("columns" not in one for one in document["files"])


def test_other_tables_keep_columns_of_their_own() -> None:
    mixed = SHARED.model_copy(update={"files": (*SHARED.files, file("data/c.csv", "other bool"), file("data/d.bin"))})
    assert (mixed.rows, mixed.columns) == (None, None)
    assert str(mixed) == "training: 4 files, 400 B"
    assert data_sets_from_json([mixed.to_json()]) == (mixed,)


@given(data_sets)
def test_json_there_and_back(some: tuple[DataSet, ...]) -> None:
    document = json.loads(canonical_json([one.to_json() for one in some]))
    assert data_sets_from_json(document) == some


def test_the_digest_is_of_the_files_and_of_nothing_else() -> None:
    assert SHARED.model_copy(update={"name": "x", "role": "reference", "ship": True}).digest == SHARED.digest
    assert SHARED.model_copy(update={"files": tuple(reversed(SHARED.files))}).digest == SHARED.digest
    for update in ({"sha256": "b" * 64}, {"size": 101}, {"path": "data/c.csv"}):
        changed = SHARED.files[0].model_copy(update=update)
        assert SHARED.model_copy(update={"files": (changed, SHARED.files[1])}).digest != SHARED.digest


@pytest.mark.parametrize(
    "damage",
    [{"digest": "sha256:" + "0" * 64}, {"digest": None}, {"files": [{"path": 1}]}, {"role": "x"}, {"columns": 3}],
    ids=str,
)
def test_what_was_changed_in_a_record_is_noticed(damage: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        data_sets_from_json([{**SHARED.to_json(), **damage}])


def test_what_a_newer_lockship_adds_is_passed_over() -> None:
    assert data_sets_from_json([{**SHARED.to_json(), "more": 1}]) == (SHARED,)


@given(data_sets)
def test_nothing_changed(some: tuple[DataSet, ...]) -> None:
    assert changes(some, some) == ()


@given(data_sets, data_sets)
def test_every_change_is_named(old: tuple[DataSet, ...], new: tuple[DataSet, ...]) -> None:
    found = changes(old, new)
    assert bool(found) == (canonical(old) != canonical(new))
    assert len({str(one) for one in found}) == len(found)
    for before in old:
        after = next((one for one in new if one.name == before.name), None)
        if after is not None and before.digest != after.digest:
            assert any(one.kind in ("file", "files") for one in found)


def canonical(some: tuple[DataSet, ...]) -> object:
    """What people would call the same: without the order of columns, and rows where no content differs."""
    return sorted(
        (
            one.name, one.role, one.ship, one.sources,
            sorted((f.path, f.sha256, f.size, tuple(sorted(map(str, f.columns or ())))) for f in one.files), one.rows,
        )
        for one in some
    )  # fmt: skip


def test_lines_for_people() -> None:
    new = SHARED.model_copy(
        update={
            "role": "reference",
            "files": (
                file("data/a.csv", "age float64", "city string", rows=5, content="b"),
                file("data/c.csv", "age float64", "city string", rows=5),
            ),
        }
    )
    assert lines(SHARED, new) == [
        "altered data set training: role training -> reference",
        "altered column training.age: type int64 -> float64",
        "created column training.city: string",
        "dropped column training.name: string",
        "altered data set training: rows 7 -> 10",
        "created file data/c.csv: 100 bytes",
        "altered file data/a.csv: sha256 aaaaaaaaaaaa -> bbbbbbbbbbbb",
        "dropped file data/b.csv: 100 bytes",
    ]
    assert lines(None, SHARED) == ["created data set training: 7 rows, 2 columns, 2 files, 200 B"]
    assert lines(SHARED, None) == ["dropped data set training: 7 rows, 2 columns, 2 files, 200 B"]


def test_many_files_are_one_line() -> None:
    many = SHARED.model_copy(update={"files": tuple(file(f"data/{n}.bin") for n in range(9))})
    none = SHARED.model_copy(update={"files": ()})
    assert lines(none, many) == ["created files of training: 9 (data/0.bin, data/1.bin, data/2.bin and 6 more)"]
    assert lines(many, none) == ["dropped files of training: 9 (data/0.bin, data/1.bin, data/2.bin and 6 more)"]
