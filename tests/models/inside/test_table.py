"""Tables come back as they were written, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.models.inside.table import Table, read_table, write_table

texts = st.lists(st.one_of(st.none(), st.text()), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=texts, name=st.text())
def test_text_comes_back_with_what_is_missing(tmp_path: Path, texts: list[str | None], name: str) -> None:
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    write_table(tmp_path / "t.npz", Table({name: column}))
    back = read_table(tmp_path / "t.npz")
    assert list(back) == [name]
    assert back[name].tolist() == texts


def test_numbers_keep_their_type_and_bits(tmp_path: Path) -> None:
    columns = {
        "double": np.array([1.5, np.nan, -np.inf, -0.0]),
        "single": np.array([1, 2, 3, 4], dtype=np.float32),
        "long": np.array([2**63 - 1, -(2**63), 0, 1]),
        "flag": np.array([True, False, True, True]),
        "matrix": np.arange(8, dtype=np.float32).reshape(4, 2),
        "words": np.array([["a", None], ["", "ü"], ["b", "c"], ["d", "e"]], dtype=object),
    }
    write_table(tmp_path / "t.npz", Table(columns))
    back = read_table(tmp_path / "t.npz")
    assert len(back) == 4
    for name, column in columns.items():
        assert back[name].dtype == column.dtype
        assert back[name].shape == column.shape
        if column.dtype == object:
            assert back[name].tolist() == column.tolist()
        else:
            assert back[name].tobytes() == column.tobytes()


def test_rows_can_be_taken_and_stacked() -> None:
    table = Table({"a": np.arange(4), "b": np.array(["x", None, "y", "z"], dtype=object)})
    some = table.take(np.array([2, 0]))
    assert some["a"].tolist() == [2, 0]
    assert some.stacked(table)["b"].tolist() == ["y", "x", "x", None, "y", "z"]


def test_columns_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="lengths"):
        Table({"a": np.arange(2), "b": np.arange(3)})
