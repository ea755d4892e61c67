from __future__ import annotations

import pytest

from builder.releases.sqltypes import fit

WIDER = [
    ("VARCHAR(50)", "VARCHAR(100)"), ("VARCHAR(50)", "TEXT"), ("VARCHAR(50)", "VARCHAR"), ("TEXT", "VARCHAR"),
    ("character varying(5)", "VARCHAR(5)"), ("INTEGER", "BIGINT"), ("SMALLINT", "INTEGER"), ("INT", "INTEGER"),
    ("REAL", "DOUBLE PRECISION"), ("FLOAT(24)", "FLOAT(53)"), ("NUMERIC(8, 2)", "NUMERIC(10, 2)"),
    ("NUMERIC(8, 2)", "NUMERIC(9, 3)"), ("NUMERIC(8, 2)", "NUMERIC"), ("DECIMAL(8, 2)", "NUMERIC(8, 2)"),
    ("TIMESTAMP(3) WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"), ("DATETIME", "TIMESTAMP"),
    ("mood ENUM ('ok', 'sad')", "mood ENUM ('ok', 'sad', 'so ''so''')"), ("INTEGER[]", "BIGINT[]"),
    ('VARCHAR(50) COLLATE "C"', "VARCHAR(50)"), ("VARCHAR(5) CHARACTER SET utf8 COLLATE utf8_bin", "VARCHAR(6)"),
    ("TEXT", "LONGTEXT"), ("VARBINARY(10)", "BYTEA"), ("BOOL", "BOOLEAN"), ("INTEGER(11)", "BIGINT(20)"),
    ("INTEGER UNSIGNED", "BIGINT UNSIGNED"),
]  # fmt: skip
LOSES = [
    ("VARCHAR(100)", "VARCHAR(50)"), ("TEXT", "VARCHAR(50)"), ("BIGINT", "INTEGER"), ("DOUBLE PRECISION", "REAL"),
    ("NUMERIC(10, 2)", "NUMERIC(8, 2)"), ("NUMERIC(8, 2)", "NUMERIC(8, 3)"), ("NUMERIC(8, 2)", "NUMERIC(8, 1)"),
    ("NUMERIC", "NUMERIC(30, 10)"), ("INTEGER", "NUMERIC(20, 0)"), ("INTEGER", "TEXT"), ("TEXT", "INTEGER"),
    ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITHOUT TIME ZONE"), ("TIMESTAMP", "DATE"), ("DATE", "TIMESTAMP"),
    ("TIMESTAMP", "TIMESTAMP(0)"), ("mood ENUM ('ok', 'sad')", "mood ENUM ('ok')"), ("CHAR(3)", "CHAR(5)"),
    ("CHAR(3)", "VARCHAR(3)"), ("INTEGER", "INTEGER[]"), ("mood ENUM ('a')", "mood[] ENUM ('a')"), ("point", "box"),
    ("vector(3)", "vector(4)"), ("INTEGER", "INTEGER UNSIGNED"), ("JSON", "JSONB"), ("zip (VARCHAR(5))", "zip (TEXT)"),
    ("LONGTEXT", "TEXT"), ("INTEGER", "DOUBLE PRECISION"), ("BOOLEAN", "INTEGER"), ("ENUM ('A')", "ENUM ('a')"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_every_value_fits(old: str, new: str) -> None:
    assert fit(old, new) == "wider"


@pytest.mark.parametrize(("old", "new"), LOSES)
def test_not_every_value_fits(old: str, new: str) -> None:
    assert fit(old, new) == "loses"


@pytest.mark.parametrize("one", sorted({name for pair in WIDER + LOSES for name in pair}))
def test_a_type_fits_itself(one: str) -> None:
    assert fit(one, one) == "same"
    assert fit(one, f" {one.replace(', ', ',') if 'ENUM' not in one else one} ") == "same"


def test_what_is_not_understood_must_be_the_same() -> None:
    assert fit("((", "))") == "loses"
    assert fit("geometry(Point,4326)", "geometry(Point, 4326)") == "same"
    assert fit("", "INTEGER") == "loses"
