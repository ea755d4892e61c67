"""Random schemas and data sets, and small ways to write them down."""

from __future__ import annotations

from hypothesis import strategies as st

from builder.releases.datasets import Column as DataColumn
from builder.releases.datasets import DataFile, DataSet
from builder.releases.schema import Column, ForeignKey, Index, Schema, Table, Unique, View

__all__ = ["column", "data_sets", "file", "schemas", "table"]

NAMES = st.sampled_from(["id", "email", "total", "größe", "a b", 'q"uote', "x.y", "créé_le", "long" * 20])
TYPES = st.sampled_from(
    [
        "INTEGER", "BIGINT", "SMALLINT", "VARCHAR(50)", "VARCHAR(100)", "TEXT", "NUMERIC(8, 2)", "NUMERIC(10, 2)",
        "REAL", "DOUBLE PRECISION", "TIMESTAMP WITH TIME ZONE", "mood ENUM ('ok', 'sad')", "CHAR(3)", "TEXT[]", "point",
    ]
)  # fmt: skip
DTYPES = st.sampled_from(["int64", "int32", "float64", "float32", "string", "bool", "date", "null"])

_COLUMN = st.builds(
    Column, name=NAMES, type=TYPES, nullable=st.booleans(), default=st.sampled_from([None, "0", "now()"])
)
_COLUMNS = st.lists(_COLUMN, min_size=1, max_size=5, unique_by=lambda one: one.name).map(tuple)
_SOME = st.lists(NAMES, min_size=1, max_size=2, unique=True).map(tuple)
_TABLE = st.builds(
    Table,
    name=st.sampled_from(["customers", "orders", "line items", "große_tabelle"]),
    columns=_COLUMNS,
    primary_key=st.one_of(st.just(()), _SOME),
    foreign_keys=st.lists(
        st.builds(
            ForeignKey, columns=_SOME, target=st.sampled_from(["customers", "orders"]), target_columns=_SOME,
            options=st.sampled_from(["", "ON DELETE CASCADE"]),
        ), max_size=2,
    ).map(tuple),
    uniques=st.lists(st.builds(Unique, columns=_SOME), max_size=2).map(tuple),
    indexes=st.lists(
        st.builds(
            Index, name=st.sampled_from(["ix_a", "ix_b"]), columns=_SOME, unique=st.booleans(),
            where=st.sampled_from(["", "total > 0"]),
        ), max_size=2, unique_by=lambda one: one.name,
    ).map(tuple),
)  # fmt: skip
_VIEW = st.builds(
    View, name=st.sampled_from(["recent", "big"]), definition=st.sampled_from(["a" * 64, "b" * 64]), columns=_COLUMNS
)
schemas = st.builds(
    Schema,
    dialect=st.sampled_from(["postgresql", "sqlite"]),
    namespace=st.sampled_from([None, "public"]),
    tables=st.lists(_TABLE, max_size=3, unique_by=lambda one: one.name).map(tuple),
    views=st.lists(_VIEW, max_size=2, unique_by=lambda one: one.name).map(tuple),
    revisions=st.lists(st.sampled_from(["a1", "b2", "c3"]), max_size=2).map(tuple),
)

_LAYOUT = st.lists(
    st.builds(DataColumn, name=NAMES, dtype=DTYPES), min_size=1, max_size=4, unique_by=lambda one: one.name
).map(tuple)


@st.composite
def _files(draw: st.DrawFn) -> tuple[DataFile, ...]:
    """Tables that are alike, tables that aren't, and files that are none."""
    layouts = draw(st.lists(_LAYOUT, min_size=1, max_size=2))
    found = []
    for path in draw(
        st.lists(st.sampled_from(["a.csv", "b.csv", "s3://b/c.parquet", "d.bin"]), max_size=4, unique=True)
    ):
        known = {"path": path, "sha256": draw(st.sampled_from("abc")) * 64, "size": draw(st.integers(0, 9999))}
        if not path.endswith(".bin"):
            known |= {"format": "csv", "rows": draw(st.integers(0, 50)), "columns": draw(st.sampled_from(layouts))}
        found.append(DataFile(**known))
    return tuple(sorted(found, key=lambda one: one.path))


_DATA_SET = st.builds(
    DataSet, name=st.sampled_from(["training", "holdout"]), role=st.sampled_from(["training", "reference"]),
    ship=st.booleans(), sources=st.lists(st.sampled_from(["data/*.csv", "s3://b/*"]), max_size=2).map(tuple),
    files=_files(),
)  # fmt: skip
data_sets = st.lists(_DATA_SET, max_size=2, unique_by=lambda one: one.name).map(tuple)


def column(text: str) -> Column:
    """``total NUMERIC(8, 2) NOT NULL DEFAULT 0``."""
    name, _, rest = text.partition(" ")
    rest, _, default = rest.partition(" DEFAULT ")
    return Column(
        name=name, type=rest.removesuffix(" NOT NULL"), nullable=not rest.endswith(" NOT NULL"), default=default or None
    )


def table(name: str, *columns: str, **more: object) -> Table:
    """A table with columns as `column` reads them."""
    return Table.model_validate({"name": name, "columns": tuple(map(column, columns)), **more})


def file(path: str, *columns: str, rows: int = 3, content: str = "a") -> DataFile:
    """A table in a file, with columns like ``age int64``; without any, a file that is no table."""
    known: dict[str, object] = {"path": path, "sha256": content * 64, "size": 100}
    if columns:
        parts = [one.rsplit(" ", 1) for one in columns]
        known |= {"format": "csv", "rows": rows, "columns": [{"name": name, "dtype": kind} for name, kind in parts]}
    return DataFile.model_validate(known)
