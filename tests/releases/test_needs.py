from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.releases.compatibility import check
from builder.releases.needs import as_needed, restricted, unmet
from builder.releases.schema import Schema
from tests.releases.test_schema import SHOP
from tests.support.schemas import schemas


def shown(schema: Schema) -> dict[str, list[str]]:
    return {one.name: [column.name for column in one.columns] for one in schema.relations}


def test_patterns() -> None:
    assert restricted(SHOP, ()) is SHOP
    assert shown(restricted(SHOP, ["customers"])) == {"customers": ["email", "id"]}
    assert shown(restricted(SHOP, ["customers.*", "recent"])) == {"customers": ["email", "id"], "recent": ["id"]}
    assert shown(restricted(SHOP, ["orders.total", "orders.i?"])) == {"orders": ["id", "total"]}
    assert shown(restricted(SHOP, ["*.id"])) == {"customers": ["id"], "orders": ["id"], "recent": ["id"]}
    assert shown(restricted(SHOP, ["nothing"])) == {}


def test_keys_and_indexes_stay_with_their_columns() -> None:
    [orders] = restricted(SHOP, ["orders.total", "orders.id"]).tables
    assert orders.primary_key == ("id",)
    assert (orders.foreign_keys, orders.uniques) == ((), ())
    assert [one.name for one in orders.indexes] == ["ix_total"]
    [orders] = restricted(SHOP, ["orders.total", "orders.note", "orders.customer"]).tables
    assert orders.primary_key == ()
    assert [one.name for one in orders.indexes] == ["ix_lower", "ix_total", "ix_where"]
    assert len(orders.uniques) == len(orders.foreign_keys) == 1


def test_patterns_that_name_nothing() -> None:
    assert unmet(SHOP, ["customers", "orders.total", "recent.id", "*"]) == ()
    assert unmet(SHOP, ["customer", "orders.sum", "x*.y"]) == ("customer", "orders.sum", "x*.y")


@given(schemas, st.data())
def test_what_is_not_needed_does_not_matter(schema: Schema, data: st.DataObject) -> None:
    columns = [f"{one.name}.{column.name}" for one in schema.relations for column in one.columns]
    if not columns:
        return
    needed = restricted(schema, data.draw(st.lists(st.sampled_from(columns), min_size=1)))
    assert as_needed(needed, schema).relations != ()
    assert [str(one) for one in check(needed, schema).incompatible + check(needed, schema).warnings] == []
    assert check(needed, as_needed(needed, schema)).ok


def test_columns_that_were_there_before_are_not_new() -> None:
    needed = restricted(SHOP, ["orders.total"])
    assert needed.tables[0].others == ("customer", "id", "note")
    assert [str(one) for one in check(needed, SHOP).findings] == [
        "created table customers: email, id",
        "created view recent: id",
    ]
