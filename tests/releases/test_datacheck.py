from __future__ import annotations

from hypothesis import given

from builder.releases.datacheck import check_data
from builder.releases.datasets import DataFile, DataSet, changes
from tests.support.schemas import data_sets, file


def data(*files: DataFile, name: str = "training") -> DataSet:
    return DataSet(name=name, role="training", sources=("data/*",), files=files)


def found(needed: DataSet, *live: DataSet) -> list[str]:
    return [f"{one.severity}: {one.text}" for one in check_data([needed], live).findings]


NEEDED = data(file("data/a.csv", "age int64", "name string"))


@given(data_sets)
def test_the_same_data_are_fine(some: tuple[DataSet, ...]) -> None:
    verdict = check_data([one for one in some if one.files], some)
    assert verdict.findings == ()


@given(data_sets, data_sets)
def test_a_verdict_and_the_changes_agree(needed: tuple[DataSet, ...], live: tuple[DataSet, ...]) -> None:
    verdict = check_data(needed, live)
    there = {one.name: one for one in live}
    for one in needed:
        if one.name not in there:
            assert f"data set {one.name} is gone" in " ".join(map(str, verdict.incompatible))
        elif one.columns is not None and there[one.name].columns is not None:
            gone = {column.name for column in one.columns} - {c.name for c in there[one.name].columns or ()}
            for name in gone:
                assert f"column {one.name}.{name} is gone" in " ".join(map(str, verdict.incompatible))
    if verdict.findings and all(one.files for one in needed):
        assert changes(needed, live)


def test_other_rows_are_compatible() -> None:
    assert found(NEEDED, data(file("data/b.csv", "name string", "age int64", rows=9))) == [
        "compatible: altered data set training: rows 3 -> 9",
        "compatible: created file data/b.csv: 100 bytes",
        "compatible: dropped file data/a.csv: 100 bytes",
    ]


def test_columns() -> None:
    assert found(NEEDED, data(file("data/a.csv", "age string", "city string", content="b"))) == [
        "incompatible: column training.age was int64 and is string",
        "incompatible: column training.name is gone: it was string",
        "compatible: column training.city is new: string",
        "compatible: altered file data/a.csv: sha256 aaaaaaaaaaaa -> bbbbbbbbbbbb",
    ]


def test_numbers_that_got_wider_fit() -> None:
    small = data(file("data/a.csv", "a int32", "b float32", "c uint8"))
    wide = data(file("data/a.csv", "a int64", "b float64", "c uint16"))
    assert check_data([small], [wide]).ok
    assert len(check_data([wide], [small]).incompatible) == 3
    assert not check_data([data(file("a", "a int64"))], [data(file("a", "a float64"))]).ok


def test_a_column_without_values_says_little() -> None:
    assert found(NEEDED, data(file("data/a.csv", "age null", "name string"))) == [
        "warning: column training.age was int64 and has no values any more"
    ]
    assert check_data([data(file("data/a.csv", "age null"))], [data(file("data/a.csv", "age string"))]).ok


def test_nothing_is_there_any_more() -> None:
    gone = ["incompatible: data set training is gone: nothing at data/*"]
    assert found(NEEDED) == found(NEEDED, data()) == gone
    assert found(NEEDED, data(file("data/a.bin")))[0] == "incompatible: data set training has no tables any more"
    assert found(NEEDED, data(file("data/a.csv", "age int64", "name string", rows=0)))[0] == (
        "warning: data set training has no rows any more"
    )


def test_tables_of_their_own_are_compared_by_path() -> None:
    two = data(file("data/a.csv", "age int64"), file("data/b.csv", "city string"))
    assert found(two, data(file("data/a.csv", "age bool"), file("data/c.csv", "city string")))[:2] == [
        "incompatible: column training/data/a.csv.age was int64 and is bool",
        "incompatible: table training/data/b.csv is gone",
    ]
    assert "incompatible: column training/data/b.csv.age is gone: it was int64" in found(data(two.files[0]), two)


def test_files_that_are_no_tables_may_change() -> None:
    assert check_data([data(file("a.bin"))], [data(file("a.bin", content="b"))]).ok
