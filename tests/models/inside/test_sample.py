"""Samples from files: what each column is, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.models.inside.problem import Problem
from builder.models.inside.sample import run
from builder.models.inside.table import Table, read_table


def read(folder: Path, content: str | bytes, name: str = "sample.csv", **job: Any) -> tuple[dict[str, Any], Table]:
    """The columns of the answer by name, and the rows."""
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    answer = run({"sample": str(file), "folder": str(folder), "drop": [], "inputs": {}, **job})
    table = read_table(Path(answer["file"]))
    assert answer["rows"] == len(table)
    return {column.pop("name"): column for column in answer["columns"]}, table


def refused(folder: Path, content: str | bytes, name: str = "sample.csv", **job: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        read(folder, content, name, **job)
    return caught.value


def test_columns_are_what_their_cells_are(tmp_path: Path) -> None:
    columns, table = read(
        tmp_path,
        "age,score,kind,member,code\n30,1.5,a,True,01\n-4,,b,False,x\n7,NA,,True,\n",
    )
    assert columns == {
        "age": {"kind": "integer", "missing": 0, "minimum": -4, "maximum": 30, "categories": None},
        "score": {"kind": "number", "missing": 2, "minimum": 1.5, "maximum": 1.5, "categories": None},
        "kind": {"kind": "text", "missing": 1, "minimum": None, "maximum": None, "categories": ["a", "b"]},
        "member": {"kind": "bool", "missing": 0, "minimum": None, "maximum": None, "categories": [False, True]},
        "code": {"kind": "text", "missing": 1, "minimum": None, "maximum": None, "categories": ["01", "x"]},
    }
    assert table["age"].tolist() == [30, -4, 7]
    assert np.isnan(table["score"]).tolist() == [False, True, True]
    assert table["kind"].tolist() == ["a", "b", None]
    assert table["code"].tolist() == ["01", "x", None]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_other_separators_quotes_and_line_ends(tmp_path: Path, delimiter: str) -> None:
    text = f'\ufeffa{delimiter}"b, c;\td"\r\n1{delimiter}"x\r\ny ""z"""\r\n\r\n2{delimiter}é\r\n'
    columns, table = read(tmp_path, text, "sample.tsv")
    assert list(columns) == ["a", "b, c;\td"]
    assert table["b, c;\td"].tolist() == ['x\r\ny "z"', "é"]


def test_what_the_project_says_of_a_column_counts(tmp_path: Path) -> None:
    inputs = {"zip": {"type": "string"}, "n": {"type": "float32"}, "flag": {"type": "int64"}}
    columns, table = read(tmp_path, "zip,n,flag\n01234,1,1\n99999,2,0\n", inputs=inputs)
    assert table["zip"].tolist() == ["01234", "99999"]
    assert [columns[name]["kind"] for name in ("zip", "n", "flag")] == ["text", "number", "integer"]


def test_labels_are_dropped(tmp_path: Path) -> None:
    columns, _ = read(tmp_path, "a,y\n1,2\n", drop=["y"])
    assert list(columns) == ["a"]


def test_infinities_count_for_nothing_but_are_there(tmp_path: Path) -> None:
    columns, table = read(tmp_path, "a\ninf\n-inf\nnan\n1e3\n")
    assert table["a"].tolist()[:2] == [np.inf, -np.inf]
    assert (columns["a"]["minimum"], columns["a"]["maximum"], columns["a"]["missing"]) == (1000, 1000, 1)


def test_large_integers_stay_what_they_are(tmp_path: Path) -> None:
    _, table = read(tmp_path, f"a,b\n{2**63 - 1},{2**63}\n{-(2**63)},1\n")
    assert table["a"].tolist() == [2**63 - 1, -(2**63)]
    assert table["b"].dtype == np.float64


def test_many_values_are_no_categories(tmp_path: Path) -> None:
    columns, _ = read(tmp_path, "a\n" + "".join(f"word{n}\n" for n in range(101)))
    assert columns["a"]["categories"] is None


def test_no_sample_is_no_rows(tmp_path: Path) -> None:
    answer = run({"sample": None, "folder": str(tmp_path)})
    assert (answer["columns"], answer["rows"]) == ([], 0)
    assert len(read_table(Path(answer["file"]))) == 0


# bad input


@pytest.mark.parametrize(
    ("content", "job", "said", "line"),
    [
        (b"", {}, "is empty", None),
        ("\n\n", {}, "is empty", None),
        ("a,b\n", {}, "has no rows", None),
        (b"a,b\n1,2\n3,caf\xe9\n", {}, "sample.csv:3: is not UTF-8 (byte 0xe9)", 3),
        ("a\n1\n".encode("utf-16"), {}, "is UTF-16", None),
        (b"PK\x03\x04\x00\x00a,b\n", {}, "NUL byte", 1),
        ("a,b\n1,2\n3\n", {}, "sample.csv:3: 1 cells, but 2 columns", 3),
        ('a,b\n1,"2\n3,4\n', {}, "sample.csv:3:", 3),
        ("a,a\n1,2\n", {}, "two columns are called 'a'", 1),
        (",a\n1,2\n", {}, "column 1 has no name", 1),
        ("a,b\n1,2\n", {"drop": ["A"]}, "no column 'A', which `drop` names; did you mean 'a'?", None),
        ("a\n1\n", {"drop": ["a"]}, "no columns but those", None),
        ("a,b\n1,2\n", {"inputs": {"c": {"unit": "EUR"}}}, "no column 'c', which `inputs` names", None),
        ("a\n1\n2.5\n", {"inputs": {"a": {"type": "int64"}}}, "sample.csv:3: column 'a': '2.5' is no int64", 3),
        ("a\n1\nx\n", {"inputs": {"a": {"type": "float32"}}}, "sample.csv:3: column 'a': 'x' is no float32", 3),
        ("a\n1\n2\n", {"inputs": {"a": {"type": "bool"}}}, "'1' is no bool", 2),
        ("a\n" + "1.5\n" * 20 + "2,5\n", {}, "sample.csv:22: 2 cells", 22),
        ("a;b\n" + "1.5;1\n" * 20 + "2,5;1\n", {}, "sample.csv:22: column 'a': '2,5' is no number", 22),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, content: str | bytes, job: dict[str, Any], said: str, line: int | None
) -> None:
    problem = refused(tmp_path, content, **job)
    assert said in problem.message
    assert "sample.csv" in problem.message
    assert problem.details.get("line") == line


def test_decimal_commas_are_recognised(tmp_path: Path) -> None:
    problem = refused(tmp_path, "a;b\n" + "1.5;1\n" * 20 + "2,5;1\n", inputs={"a": {"type": "float64"}})
    assert problem.hint == "decimals are written with a point"


def test_a_column_that_is_nearly_a_number_can_be_text_if_one_says_so(tmp_path: Path) -> None:
    text = "a\n" + "1.5\n" * 20 + "unknown\n"
    assert 'inputs = { a = { type = "string" } }' in str(refused(tmp_path, text).hint)
    _, table = read(tmp_path, text, inputs={"a": {"type": "string"}})
    assert table["a"].tolist()[-1] == "unknown"


def test_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    problem = refused(tmp_path, "x", "sample.xlsx")
    assert "Parquet" in problem.message
