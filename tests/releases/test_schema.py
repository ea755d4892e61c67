from __future__ import annotations

import json

import pytest
from hypothesis import given

from builder.content import canonical_json
from builder.errors import VerificationError
from builder.releases.schema import Column, Schema, Table, View, schema_from_json
from tests.support.schemas import schemas, table

SHOP = Schema(
    dialect="postgresql",
    namespace="public",
    tables=(
        table(
            "orders", "id BIGINT NOT NULL", "customer BIGINT NOT NULL", "total NUMERIC(8, 2)", "note TEXT",
            primary_key=["id"],
            foreign_keys=[{"columns": ["customer"], "target": "customers", "target_columns": ["id"]}],
            uniques=[{"columns": ["customer", "note"]}],
            indexes=[
                {"name": "ix_total", "columns": ["total"]},
                {"name": "ix_lower", "columns": ["lower(note)"]},
                {"name": "ix_where", "columns": ["total"], "where": "note IS NULL"},
            ],
        ),
        table("customers", "id BIGINT NOT NULL", "email VARCHAR(50)"),
    ),
    views=(View(name="recent", definition="a" * 64, columns=(Column(name="id", type="BIGINT"),)),),
    revisions=("b2", "a1", "b2"),
)  # fmt: skip


def test_one_order_whatever_order_it_was_read_in() -> None:
    assert [one.name for one in SHOP.tables] == ["customers", "orders"]
    assert [one.name for one in SHOP.tables[1].columns] == ["customer", "id", "note", "total"]
    assert SHOP.revisions == ("a1", "b2")
    other = Table(name="customers", columns=tuple(reversed(SHOP.tables[0].columns)))
    assert Schema(**{**dict(SHOP), "tables": (SHOP.tables[1], other)}) == SHOP


def test_for_people() -> None:
    assert str(SHOP) == "postgresql: 2 tables, 6 columns, 1 view, Alembic revisions a1, b2"
    assert str(SHOP.tables[1].columns[1]) == "BIGINT NOT NULL"
    assert SHOP.tables[1].foreign_keys[0].name == "(customer) -> customers (id)"


@given(schemas)
def test_json_there_and_back(schema: Schema) -> None:
    back = schema_from_json(json.loads(canonical_json(schema.to_json())))
    assert (back, back.digest) == (schema, schema.digest)


@given(schemas)
def test_the_digest_is_of_what_is_in_it(schema: Schema) -> None:
    assert schema.model_copy(update={"namespace": "other", "revisions": ("x",)}).digest == schema.digest
    assert schema.model_copy(update={"dialect": "mysql"}).digest != schema.digest
    assert schema.model_copy(update={"tables": (*schema.tables, table("new", "id INTEGER"))}).digest != schema.digest


@pytest.mark.parametrize("damage", [{"digest": "sha256:" + "0" * 64}, {"tables": 3}, {"dialect": "x"}], ids=str)
def test_what_was_changed_in_a_record_is_noticed(damage: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        schema_from_json({**SHOP.to_json(), **damage})
