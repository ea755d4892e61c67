"""Before a stage moves, the live database is held against what the release needs; the way back is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command

from builder.errors import RefusedError
from builder.pipeline.inspecting import read_schema
from tests.conftest import DEVELOPER
from tests.support.databases import Alembic, postgres_server, postgres_url, sqlite_url
from tests.support.releases import Yard, layout_yard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """A real PostgreSQL."""
    with postgres_server(DEVELOPER) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Yard:
    """A production stage with a database of its own, empty."""
    made = layout_yard(tmp_path)
    url = sqlite_url(tmp_path) if request.param == "sqlite" else postgres_url(request.getfixturevalue("server"))
    made.context.environ["LIVE"] = url  # type: ignore[index]
    made.stages = {"production": {"database": "env:LIVE"}}
    return made


@pytest.fixture
def migrations(tmp_path: Path) -> Alembic:
    """One that makes a table, and one that renames a column of it."""
    made = Alembic(tmp_path / "migrations")
    columns = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('city', sa.String(50))"
    made.revision("r1", None, f"op.create_table('customers', {columns})", "op.drop_table('customers')")
    rename = "with op.batch_alter_table('customers') as t: t.alter_column('{}', new_column_name='{}')"
    made.revision("r2", "r1", rename.format("city", "town"), rename.format("town", "city"))
    return made


def needs(yard: Yard) -> dict[str, object]:
    """The schema as a record has it."""
    found = read_schema("env:LIVE", yard.context.environ, patterns=("customers",))
    return {**found.to_json(), "digest": str(found.digest)}


def test_code_does_not_go_back_where_the_database_did_not(yard: Yard, migrations: Alembic) -> None:
    url = yard.context.environ["LIVE"]
    migrations.run(url, command.upgrade, "r1")
    old = yard.release("1.0", database=needs(yard))
    yard.promote("1.0")
    migrations.run(url, command.upgrade, "r2")
    new = yard.release("1.1", database=needs(yard))
    yard.promote("1.1")
    with pytest.raises(RefusedError, match=r"(?s)may not go to production.*schema: .*city") as caught:
        yard.rollback()
    assert "--accept-schema" in str(caught.value.hint)
    assert yard.has() == new.digest
    ways = [one.text for one in yard.propose("rollback", "production").checks.findings]
    assert any("`alembic downgrade r1`" in text for text in ways), ways

    migrations.run(url, command.downgrade, "r1")
    yard.rollback()
    assert yard.has() == old.digest


def test_going_on_all_the_same_is_written_down(yard: Yard, migrations: Alembic) -> None:
    url = yard.context.environ["LIVE"]
    migrations.run(url, command.upgrade, "r1")
    record = yard.release("1.0", database=needs(yard))
    migrations.run(url, command.upgrade, "r2")
    yard.promote("1.0", accept=("schema",))
    assert yard.has() == record.digest
    (accepted,) = [one.event.notes["accepted"] for one in yard.journal().entries if one.event.kind == "promote"]
    assert any("city" in text for text in accepted)


def test_what_does_no_harm_is_said(yard: Yard, migrations: Alembic) -> None:
    from tests.support.databases import execute

    url = yard.context.environ["LIVE"]
    migrations.run(url, command.upgrade, "r1")
    yard.release("1.0", database=needs(yard))
    execute(url, "ALTER TABLE customers ADD COLUMN age INTEGER")
    proposal = yard.propose("promote", "production", "1.0")
    assert not proposal.checks.refused
    assert any("age" in one.text for one in proposal.checks.findings)


def test_a_database_that_can_not_be_asked_refuses(yard: Yard, migrations: Alembic) -> None:
    migrations.run(yard.context.environ["LIVE"], command.upgrade, "r1")
    yard.release("1.0", database=needs(yard))
    yard.context.environ["LIVE"] = "postgresql+psycopg://ada:countess@127.0.0.1:1/live"  # type: ignore[index]
    with pytest.raises(RefusedError, match="can't be asked") as caught:
        yard.promote("1.0")
    assert "countess" not in str(caught.value)
    assert yard.has() is None
