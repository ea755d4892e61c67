"""Databases for tests: SQLite files, databases of a real PostgreSQL server, and Alembic's migrations on either."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from builder.models.consumers.sql_cluster import cluster_obstacle, temporary_cluster
from tests.support.require import need

__all__ = ["Alembic", "execute", "postgres_server", "postgres_url", "sqlite_url"]

_NUMBERS = itertools.count()

_ENV = """\
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
"""

_MIGRATION = """\
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {down!r}


def upgrade():
{upgrade}


def downgrade():
{downgrade}
"""


@contextmanager
def postgres_server(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A real PostgreSQL, behind a socket; the tests that need one are skipped where there is none."""
    obstacle = cluster_obstacle(environ)
    need("PostgreSQL", obstacle is None, str(obstacle))
    with temporary_cluster(environ) as server:
        yield server


def postgres_url(server: Mapping[str, str], user: str = "", name: str | None = None) -> str:
    """The URL of a new, empty database, or of the one called `name`."""
    host = quote(server["PGHOST"], safe="")
    if name is None:
        name = f"test_{next(_NUMBERS)}"
        engine = sa.create_engine(
            f"postgresql+psycopg://{server['PGUSER']}@/postgres?host={host}", isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
        )  # fmt: skip
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return f"postgresql+psycopg://{user or server['PGUSER']}@/{name}?host={host}"


def sqlite_url(folder: Path) -> str:
    """The URL of a new, empty database in `folder`."""
    path = folder / f"test_{next(_NUMBERS)}.db"
    path.touch()
    return f"sqlite:///{path}"


def execute(url: str, *statements: str) -> None:
    """Run them in one transaction."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


class Alembic:
    """A folder of migrations, and where it may be run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(_ENV)

    def revision(self, revision: str, down: str | None, upgrade: str, downgrade: str) -> None:
        """A migration; `upgrade` and `downgrade` are Python, one statement a line."""
        text = _MIGRATION.format(
            revision=revision, down=down, upgrade=_indented(upgrade), downgrade=_indented(downgrade)
        )
        (self.folder / "versions" / f"{revision}.py").write_text(text)

    def run(self, url: str, verb: Callable[..., object], revision: str) -> None:
        """``alembic upgrade REVISION``, with `verb` ``alembic.command.upgrade``."""
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        config.attributes["url"] = url
        verb(config, revision)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()) or "    pass"
