from __future__ import annotations

import json

import pytest
from hypothesis import given

from builder.releases.compatibility import changes, check
from builder.releases.schema import Column, Schema, View
from tests.support.schemas import schemas, table

CUSTOMERS = table("customers", "id BIGINT NOT NULL", "email VARCHAR(50) NOT NULL", "age INTEGER", primary_key=["id"])


def schema(*tables: object, views: tuple[View, ...] = (), revisions: tuple[str, ...] = ()) -> Schema:
    return Schema.model_validate({"dialect": "postgresql", "tables": tables, "views": views, "revisions": revisions})


def found(needed: Schema, live: Schema) -> list[str]:
    return [f"{one.severity}: {one.text}" for one in check(needed, live).findings]


def with_columns(*columns: str, **more: object) -> Schema:
    return schema(table("customers", *columns, **{"primary_key": ["id"], **more}))


@given(schemas)
def test_nothing_changed(one: Schema) -> None:
    assert changes(one, one) == ()
    assert check(one, one).findings == ()


@given(schemas, schemas)
def test_every_change_is_named_and_judged(old: Schema, new: Schema) -> None:
    log = changes(old, new)
    assert bool(log) == (old.digest != new.digest or old.revisions != new.revisions)
    assert len({str(one) for one in log}) == len(log)
    verdict = check(old, new)
    assert verdict.ok == (not verdict.incompatible)
    assert len(verdict.incompatible) + len(verdict.warnings) + len(verdict.compatible) == len(verdict.findings)
    swapped = {one.name for one in old.relations} & {one.name for one in new.relations} - (
        {one.name for one in old.tables} & {one.name for one in new.tables}
        | {one.name for one in old.views} & {one.name for one in new.views}
    )
    if not swapped:
        assert {one.change for one in verdict.findings} == set(log)
    json.dumps(verdict.to_json())


@given(schemas, schemas)
def test_what_is_gone_is_never_compatible(needed: Schema, live: Schema) -> None:
    there = {one.name: {column.name for column in one.columns} for one in live.relations}
    texts = " ".join(one.text for one in check(needed, live).incompatible)
    for one in needed.relations:
        if one.name not in there:
            assert f"{one.name} is gone" in texts
        for column in one.columns:
            if one.name in there and column.name not in there[one.name]:
                assert f"column {one.name}.{column.name} is gone" in texts


@given(schemas)
def test_back_and_forth_is_the_same_list_turned_around(one: Schema) -> None:
    other = one.model_copy(update={"tables": (*one.tables, table("new", "id INTEGER"))})
    assert [str(change) for change in changes(one, other)] == ["created table new: id"]
    assert [str(change) for change in changes(other, one)] == ["dropped table new: id"]


def test_a_log_for_people() -> None:
    old = schema(
        table(
            "customers", "id INTEGER NOT NULL", "email VARCHAR(50)", "old TEXT", primary_key=["id"],
            indexes=[{"name": "ix_email", "columns": ["email"]}],
        ),
        table("gone", "a TEXT", "b TEXT"),
        views=(View(name="v", definition="a" * 64, columns=(Column(name="id", type="INTEGER"),)),),
        revisions=("a1",),
    )  # fmt: skip
    new = schema(
        table(
            "customers", "id BIGINT NOT NULL", "email VARCHAR(50) NOT NULL DEFAULT ''", "city TEXT",
            primary_key=["id", "city"], uniques=[{"columns": ["email"]}],
            indexes=[{"name": "ix_email", "columns": ["email"], "unique": True}],
            foreign_keys=[{"columns": ["city"], "target": "cities", "target_columns": ["name"]}],
        ),
        views=(View(name="v", definition="b" * 64, columns=(Column(name="id", type="BIGINT"),)),),
        revisions=("b2",),
    )  # fmt: skip
    assert [str(one) for one in changes(old, new)] == [
        "altered Alembic revision: revision a1 -> b2",
        "created column customers.city: TEXT",
        "altered column customers.email: nullable NULL -> NOT NULL",
        "altered column customers.email: default none -> ''",
        "altered column customers.id: type INTEGER -> BIGINT",
        "dropped column customers.old: TEXT",
        "altered primary key of customers: (id) -> (id, city)",
        "created foreign key of customers: (city) -> cities (name)",
        "created unique constraint of customers: (email)",
        "altered index customers.ix_email: (email) -> UNIQUE (email)",
        "dropped table gone: a, b",
        "altered column v.id: type INTEGER -> BIGINT",
        "altered view v: definition aaaaaaaaaaaa -> bbbbbbbbbbbb",
    ]


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (schema(), ["incompatible: table customers is gone"]),
        (
            with_columns("id BIGINT NOT NULL", "age INTEGER"),
            ["incompatible: column customers.email is gone: it was VARCHAR(50) NOT NULL"],
        ),
        (
            with_columns("id BIGINT NOT NULL", "email VARCHAR(100) NOT NULL", "age BIGINT"),
            [
                "compatible: column customers.age was INTEGER and is BIGINT: every value fits",
                "compatible: column customers.email was VARCHAR(50) and is VARCHAR(100): every value fits",
            ],
        ),
        (
            with_columns("id INTEGER NOT NULL", "email VARCHAR(20) NOT NULL", "age TEXT"),
            [
                "incompatible: column customers.age was INTEGER and is TEXT: not every value fits",
                "incompatible: column customers.email was VARCHAR(50) and is VARCHAR(20): not every value fits",
                "incompatible: column customers.id was BIGINT and is INTEGER: not every value fits",
            ],
        ),
        (
            with_columns(
                "id BIGINT NOT NULL", "email VARCHAR(50)", "age INTEGER NOT NULL", "a TEXT NOT NULL",
                "b TEXT NOT NULL DEFAULT ''", "c TEXT",
            ),
            [
                "warning: column customers.a is new, NOT NULL and has no default: rows that don't set it, as the "
                "release's don't, can't be written",
                "warning: column customers.age may not be missing any more: such rows can't be written",
                "warning: column customers.email may be missing now",
                "compatible: column customers.b is new: TEXT NOT NULL DEFAULT ''",
                "compatible: column customers.c is new: TEXT",
            ],
        ),
        (
            with_columns("id BIGINT NOT NULL", "email VARCHAR(50) NOT NULL", "age INTEGER", primary_key=[]),
            [
                "warning: dropped primary key of customers: (id): an upsert that relies on it fails, and rows may be "
                "there twice"
            ],
        ),
        (
            with_columns(
                "id BIGINT NOT NULL", "email VARCHAR(50) NOT NULL", "age INTEGER", uniques=[{"columns": ["email"]}],
                indexes=[{"name": "ix", "columns": ["age"]}],
            ),
            [
                "warning: created unique constraint of customers: (email): rows that it rules out can't be written",
                "compatible: created index customers.ix: (age)",
            ],
        ),
    ],
    ids=["table", "column", "wider", "narrower", "nulls", "key", "constraints"],
)  # fmt: skip
def test_what_a_release_can_live_with(live: Schema, expected: list[str]) -> None:
    assert found(schema(CUSTOMERS), live) == expected


def test_a_default_that_is_gone() -> None:
    needed = with_columns("id BIGINT NOT NULL", "n INTEGER NOT NULL DEFAULT 0", "m INTEGER DEFAULT 0")
    live = with_columns("id BIGINT NOT NULL", "n INTEGER NOT NULL", "m INTEGER")
    assert found(needed, live) == [
        "warning: column customers.n lost its default: rows without it can't be written",
        "compatible: altered column customers.m: default 0 -> none",
    ]


def test_a_view_in_place_of_a_table_counts_for_its_columns() -> None:
    view = View(name="customers", definition="a" * 64, columns=CUSTOMERS.columns[:2])
    needed = schema(CUSTOMERS)
    assert found(needed, schema(views=(view,))) == [
        "incompatible: column customers.id is gone: it was BIGINT NOT NULL",
        "warning: table customers is a view now: writing to it may fail",
        "warning: dropped primary key of customers: (id): an upsert that relies on it fails, and rows may be there "
        "twice",
    ]
    assert found(schema(views=(view,)), needed) == [
        "warning: column customers.id is new, NOT NULL and has no default: rows that don't set it, as the release's "
        "don't, can't be written",
        "compatible: view customers is a table now",
    ]


def test_alembic_says_how_to_get_there() -> None:
    needed, live = schema(CUSTOMERS, revisions=("a1",)), schema(revisions=("b2", "c3"))
    verdict = check(needed, live)
    assert verdict.remedy("back") == (
        "the database is at Alembic's b2, c3, the release was made for a1: `alembic downgrade a1` would bring that back"
    )
    assert verdict.remedy("forward") == (
        "the database is at Alembic's b2, c3, the release was made for a1: `alembic upgrade a1` would lead there"
    )
    assert verdict.remedy() == (
        "the database is at Alembic's b2, c3, the release was made for a1: "
        "`alembic downgrade a1` or `alembic upgrade a1`, whichever it is from there, would lead to it"
    )
    assert check(needed, needed).remedy() is None
    assert check(schema(CUSTOMERS), live).remedy() is None
