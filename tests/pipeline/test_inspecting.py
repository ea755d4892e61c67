"""Schemas of real databases: SQLite files and a PostgreSQL server, migrated by Alembic."""

from __future__ import annotations

import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from builder.errors import LockshipError, ProjectError, StoreError, UsageError
from builder.pipeline import inspecting
from builder.pipeline.inspecting import live_schema, needed_schema, read_schema
from builder.project import Project
from builder.releases.compatibility import changes, check
from builder.releases.schema import Schema
from tests.conftest import DEVELOPER
from tests.support.databases import Alembic, execute, postgres_server, postgres_url, sqlite_url
from tests.support.progress import Heard

pytestmark = pytest.mark.slow

NewDatabase = Callable[[], str]
SECRET = "hunter2/:%"
ESCAPED = "hunter2%2F%3A%25"


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with postgres_server(DEVELOPER) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    """Makes an empty database, and gives its URL."""
    if request.param == "sqlite":
        return lambda: sqlite_url(tmp_path)
    server = request.getfixturevalue("server")
    return lambda: postgres_url(server)


def read(url: str, **more: object) -> Schema:
    return read_schema("env:DB", {"DB": url}, **more)  # type: ignore[arg-type]


def refused(kind: type[LockshipError], url: str, environ: dict[str, str] | None = None, **more: object) -> str:
    """The error's words, all of them, which never have the password in them."""
    with pytest.raises(kind) as caught:
        read_schema("env:DB" if environ is None else url, {"DB": url, **(environ or {})}, **more)  # type: ignore[arg-type]
    told = f"{caught.value} | {caught.value.hint}"
    assert "hunter2" not in told + repr(caught.value) + str(caught.value.__cause__)
    return told


@pytest.fixture
def migrations(tmp_path: Path) -> Alembic:
    alembic = Alembic(tmp_path / "migrations")
    alembic.revision(
        "a1",
        None,
        """
op.create_table(
    "customers",
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("email", sa.String(50), nullable=False),
    sa.Column("age", sa.Integer),
    sa.UniqueConstraint("email", name="uq_email"),
)
customer = sa.ForeignKey("customers.id", name="fk_customer", ondelete="CASCADE")
op.create_table(
    "orders",
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("customer", sa.BigInteger, customer, nullable=False),
    sa.Column("total", sa.Numeric(8, 2), server_default="0"),
)
op.create_index("ix_total", "orders", ["total"])
op.execute("CREATE VIEW big AS SELECT id, total FROM orders WHERE total > 100")
""",
        """
op.execute("DROP VIEW big")
op.drop_table("orders")
op.drop_table("customers")
""",
    )
    alembic.revision(
        "b2",
        "a1",
        """
with op.batch_alter_table("customers") as batch:
    batch.alter_column("email", existing_type=sa.String(50), type_=sa.String(100), existing_nullable=False)
    batch.add_column(sa.Column("city", sa.Text))
op.create_table("visits", sa.Column("day", sa.Date, primary_key=True))
""",
        """
op.drop_table("visits")
with op.batch_alter_table("customers") as batch:
    batch.drop_column("city")
    batch.alter_column("email", existing_type=sa.String(100), type_=sa.String(50), existing_nullable=False)
""",
    )
    alembic.revision(
        "c3",
        "b2",
        """
with op.batch_alter_table("customers") as batch:
    batch.drop_column("age")
""",
        """
with op.batch_alter_table("customers") as batch:
    batch.add_column(sa.Column("age", sa.Integer))
""",
    )
    return alembic


def test_migrations_are_read_and_compared(new: NewDatabase, migrations: Alembic) -> None:
    url = new()
    migrations.run(url, command.upgrade, "a1")
    first = read(url)
    assert first.revisions == ("a1",)
    assert [one.name for one in first.relations] == ["customers", "orders", "big"]
    migrations.run(url, command.upgrade, "b2")
    second = read(url)
    assert [str(one) for one in changes(first, second)] == [
        "altered Alembic revision: revision a1 -> b2",
        "created column customers.city: TEXT",
        "altered column customers.email: type VARCHAR(50) -> VARCHAR(100)",
        "created table visits: day",
    ]
    verdict = check(first, second)
    assert verdict.ok
    assert not verdict.warnings
    migrations.run(url, command.upgrade, "c3")
    verdict = check(first, live_schema(first, "env:DB", {"DB": url}))
    assert [str(one) for one in verdict.incompatible] == ["column customers.age is gone: it was INTEGER"]
    assert "`alembic downgrade a1` would bring that back" in str(verdict.remedy("back"))
    migrations.run(url, command.downgrade, "a1")
    assert read(url) == first
    assert read(url).digest == first.digest


def test_a_table_in_all_its_parts(new: NewDatabase, migrations: Alembic) -> None:
    url = new()
    migrations.run(url, command.upgrade, "a1")
    customers, orders = read(url).tables
    assert {one.name: str(one) for one in customers.columns}["email"] == "VARCHAR(50) NOT NULL"
    assert customers.primary_key == ("id",)
    assert [one.name for one in customers.uniques] == ["(email)"]
    assert customers.indexes == ()
    total = next(one for one in orders.columns if one.name == "total")
    assert (total.type, total.nullable) == ("NUMERIC(8, 2)", True)
    assert "0" in (total.default or "")
    assert [one.name for one in orders.foreign_keys] == ["(customer) -> customers (id) ON DELETE CASCADE"]
    assert [str(one) for one in orders.indexes] == ["(total)"]


def test_two_databases_with_the_same_schema_have_one_digest(new: NewDatabase) -> None:
    one, other = new(), new()
    execute(one, "CREATE TABLE t (a INTEGER, b TEXT)", "CREATE TABLE s (a INTEGER UNIQUE)")
    execute(other, "CREATE TABLE s (a INTEGER UNIQUE)", "CREATE TABLE t (b TEXT, a INTEGER)")
    assert read(one).digest == read(other).digest
    execute(other, "ALTER TABLE s ADD COLUMN z TEXT")
    assert read(one).digest != read(other).digest


def test_every_kind_of_change_is_seen(new: NewDatabase) -> None:
    url = new()
    execute(url, "CREATE TABLE t (a INTEGER, b VARCHAR(5) NOT NULL)")
    for statement in (
        "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'x'",
        "ALTER TABLE t RENAME COLUMN c TO d",
        "CREATE INDEX i ON t (a)",
        "DROP INDEX i",
        "CREATE INDEX i ON t (a DESC)" if url.startswith("postgres") else "CREATE INDEX i ON t (b)",
        "CREATE INDEX j ON t (lower(b))",
        "DROP INDEX j",
        "CREATE INDEX j ON t (upper(b))",
        "CREATE UNIQUE INDEX k ON t (a) WHERE a > 3",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE TABLE u (a INTEGER PRIMARY KEY, b INTEGER UNIQUE, c INTEGER REFERENCES u (a) ON DELETE CASCADE)",
        "DROP VIEW v",
        "DROP TABLE u",
    ):
        before = read(url)
        execute(url, statement)
        assert changes(before, read(url)), statement


def test_only_what_is_asked_for(new: NewDatabase, migrations: Alembic, tmp_path: Path) -> None:
    url = new()
    migrations.run(url, command.upgrade, "a1")
    assert [one.name for one in read(url, patterns=["orders", "b*"]).relations] == ["orders", "big"]
    needed = needed_schema(project(tmp_path, ["customers.email", "orders.*"]), {"DB": url})
    assert needed is not None
    assert {one.name: [column.name for column in one.columns] for one in needed.relations} == {
        "customers": ["email"],
        "orders": ["customer", "id", "total"],
    }
    migrations.run(url, command.upgrade, "b2")
    live = live_schema(needed, "env:DB", {"DB": url})
    assert [one.name for one in live.relations] == ["customers", "orders"]
    assert [str(one) for one in check(needed, live).findings if "city" in str(one)] == [
        "column customers.city is new: TEXT"
    ]
    assert live_schema(Schema(dialect="sqlite"), "env:DB", {"DB": url}).relations == ()


def project(folder: Path, tables: list[str], **more: object) -> Project:
    return Project.model_validate(
        {
            "name": "shop",
            "version": "1",
            "root": folder,
            "file": folder / "lockship.toml",
            "database": {"url": "env:DB", "tables": tables, **more},
        }
    )


def test_what_a_release_needs_must_be_there(new: NewDatabase, migrations: Alembic, tmp_path: Path) -> None:
    url = new()
    migrations.run(url, command.upgrade, "a1")
    with pytest.raises(ProjectError) as caught:
        needed_schema(project(tmp_path, ["orders", "customer.email"]), {"DB": url})
    assert "the database has no customer.email" in str(caught.value)
    assert str(caught.value.hint).startswith("did you mean 'customers'? ")
    with pytest.raises(ProjectError) as caught:
        needed_schema(project(tmp_path, ["customers.mail"]), {"DB": url})
    assert str(caught.value.hint).startswith("did you mean 'customers.email'? ")
    with pytest.raises(ProjectError, match=r"no schema 'nowhere'"):
        needed_schema(project(tmp_path, [], schema="nowhere"), {"DB": url})
    assert needed_schema(project(tmp_path, []).model_copy(update={"database": None}), {}) is None


def test_reading_changes_nothing(new: NewDatabase, tmp_path: Path) -> None:
    url = new()
    execute(url, "CREATE TABLE t (a INTEGER)")
    heard = Heard()
    assert read(url, progress=heard) == read(url)
    assert len(heard.steps) == 1
    missing = tmp_path / "missing.db"
    assert "there is no database" in refused(StoreError, f"sqlite:///{missing}")
    assert not missing.exists()


def test_names_that_hurt(new: NewDatabase) -> None:
    url = new()
    execute(url, 'CREATE TABLE "a b.c*""d" ("größe ""x""" TEXT)', 'CREATE TABLE "plain" (a INTEGER)')
    found = read(url)
    assert [one.name for one in found.tables] == ['a b.c*"d', "plain"]
    assert found.tables[0].columns[0].name == 'größe "x"'
    assert live_schema(found.model_copy(update={"tables": found.tables[1:]}), "env:DB", {"DB": url}).tables == (
        found.tables[1],
    )


def test_postgres_knows_more(server: dict[str, str]) -> None:
    url = postgres_url(server)
    execute(
        url,
        "CREATE TYPE mood AS ENUM ('ok', 'so ''so''')",
        "CREATE DOMAIN zip AS varchar(5)",
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, m mood, z zip, p point, a text[], s serial,"
        " g int GENERATED ALWAYS AS (1 + 1) STORED, at timestamptz(3))",
        "CREATE MATERIALIZED VIEW mv AS SELECT id FROM t",
        "CREATE INDEX i ON t USING hash (id)",
        "CREATE INDEX j ON t (id) INCLUDE (g)",
    )
    schema = read(url)
    assert {one.name: one.type for one in schema.tables[0].columns} == {
        "id": "INTEGER", "m": "mood ENUM ('ok', 'so ''so''')", "z": "zip (character varying(5))", "p": "point",
        "a": "TEXT[]", "s": "INTEGER", "g": "INTEGER", "at": "TIMESTAMP(3) WITH TIME ZONE",
    }  # fmt: skip
    assert {one.name for one in schema.tables[0].columns if one.default is not None} == {"id", "s", "g"}
    assert [one.name for one in schema.views] == ["mv"]
    assert [str(one) for one in schema.tables[0].indexes] == ["(id, USING hash)", "(id, INCLUDE g)"]
    execute(url, "ALTER TYPE mood ADD VALUE 'sad'")
    assert [one.severity for one in check(schema, read(url)).findings] == ["compatible"]
    assert [one.severity for one in check(read(url), schema).findings] == ["incompatible"]


def test_a_namespace_of_postgres(server: dict[str, str]) -> None:
    url = postgres_url(server)
    execute(
        url, "CREATE SCHEMA sales", "CREATE TABLE sales.t (a int PRIMARY KEY)", "CREATE TABLE t (b int)",
        "CREATE TABLE sales.u (a int REFERENCES sales.t (a))", "CREATE TABLE sales.alembic_version (version_num text)",
        "INSERT INTO sales.alembic_version VALUES ('x'), ('y')",
    )  # fmt: skip
    found = read(url, namespace="sales")
    assert [one.name for one in found.tables] == ["t", "u"]
    assert found.tables[0].columns[0].name == "a"
    assert found.tables[1].foreign_keys[0].target == "t"
    assert found.revisions == ("x", "y")
    assert [one.name for one in read(url).tables] == ["t"]


def test_sqlite_and_postgres_side_by_side(server: dict[str, str], tmp_path: Path, migrations: Alembic) -> None:
    small, large = sqlite_url(tmp_path), postgres_url(server)
    for url in (small, large):
        migrations.run(url, command.upgrade, "a1")
    verdict = check(read(small), read(large))
    assert verdict.ok, [str(one) for one in verdict.incompatible]
    assert "altered database dialect: sqlite -> postgresql" in [str(one) for one in verdict.compatible]


def test_addresses_as_people_have_them(server: dict[str, str], tmp_path: Path) -> None:
    url = postgres_url(server)
    execute(url, "CREATE TABLE t (a int)")
    (tmp_path / "url").write_text(url + "\n")
    for form in ("postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"):
        assert read(url.replace("postgresql+psycopg", form)).tables
    assert read_schema("file:url", {}, root=tmp_path).tables
    assert read_schema(f"file:{tmp_path}/url", {}).tables
    execute(f"sqlite:///{tmp_path}/x.db", "CREATE TABLE t (a int)")
    assert read_schema("sqlite:///x.db", {}, root=tmp_path).tables
    assert read_schema("sqlite+aiosqlite:///x.db", {}, root=tmp_path).tables


def test_a_wrong_password(server: dict[str, str]) -> None:
    url = postgres_url(server)
    guard = Path(server["PGHOST"]) / "pg_hba.conf"
    guard.write_text("local all guarded scram-sha-256\n" + guard.read_text())
    execute(url, "CREATE ROLE guarded LOGIN PASSWORD 'right'", "SELECT pg_reload_conf()", "CREATE TABLE t (a int)")
    closed = url.replace("lockship@", f"guarded:{ESCAPED}@")
    end = time.monotonic() + 30
    while True:  # the server takes the new rule when it gets to it
        try:
            read(closed)
        except StoreError:
            break
        assert time.monotonic() < end
    told = refused(StoreError, closed)
    assert "refuses the login" in told
    assert "password authentication failed" in told
    assert "look at the user and the password in env:DB" in told
    assert read(url.replace("lockship@", "guarded:right@")).tables


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        (f"postgresql://u:{ESCAPED}@127.0.0.1:1/x", StoreError, "postgresql://127.0.0.1:1/x does not answer"),
        (f"postgresql://u:{ESCAPED}@127.0.0.1:1/x?password=hunter2", StoreError, "does not answer"),
        (f"mysql://u:{ESCAPED}@127.0.0.1:1/x", UsageError, "pip install 'pymysql'"),
        (f"oracle+oracledb://u:{ESCAPED}@127.0.0.1:1/x", UsageError, "pip install 'oracledb'"),
        (f"nonsense://u:{ESCAPED}@h/x", UsageError, "SQLAlchemy knows no database called 'nonsense'"),
        (f"postgresql://u:{ESCAPED}@h:port/x", UsageError, "env:DB is not the URL of a database"),
        ("hunter2", UsageError, "env:DB is not the URL of a database"),
        ("", UsageError, "DB is not set"),
        ("sqlite://", UsageError, "in memory"),
        ("sqlite:///nothing.db", StoreError, "there is no database nothing.db"),
    ],
)
def test_databases_that_are_none(url: str, kind: type[LockshipError], says: str) -> None:
    assert says in refused(kind, url)


def test_references_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert "cannot read the database's URL: No such file" in refused(UsageError, "file:missing", {}, root=tmp_path)
    assert "is not UTF-8" in refused(UsageError, "file:bytes", {}, root=tmp_path)
    assert "OTHER is not set" in refused(UsageError, "env:OTHER", {})


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("hello " * 1000)
    assert "file is not a database" in refused(StoreError, f"sqlite:///{tmp_path}/x.db")


def test_a_database_that_is_silent() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        told = refused(StoreError, f"postgresql://u:{ESCAPED}@127.0.0.1:{port}/x", timeout=0.3)
    assert "took longer than 0.3 s" in told


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database gives up long before we do, however slow the machine is."""
    monkeypatch.setattr(inspecting, "_OWN", 0.01)


@pytest.mark.usefixtures("impatient")
def test_a_table_that_is_locked(server: dict[str, str], migrations: Alembic) -> None:
    url = postgres_url(server)
    migrations.run(url, command.upgrade, "a1")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        told = refused(StoreError, url, timeout=60)
    assert "statement timeout" in told
    assert read(url).revisions == ("a1",)


def test_a_user_who_may_not_look(server: dict[str, str], migrations: Alembic) -> None:
    url = postgres_url(server)
    migrations.run(url, command.upgrade, "a1")
    execute(url, "CREATE ROLE stranger LOGIN")
    assert "permission denied for table alembic_version" in refused(StoreError, url.replace("lockship@", "stranger@"))
    assert "does not exist" in refused(StoreError, url.replace("lockship@", "nobody_here@"))


@pytest.mark.usefixtures("impatient")
def test_a_sqlite_database_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    execute(url, "CREATE TABLE t (a int)")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in refused(StoreError, url, timeout=60)
        other.execute("ROLLBACK")
    assert read(url).tables


def test_without_sqlalchemy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert "pip install 'lockship[database]'" in refused(UsageError, "sqlite:///x.db")
