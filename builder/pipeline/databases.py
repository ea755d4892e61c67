"""A connection to the database that a reference leads to: read only, in time, and no message has its password."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

from builder.datakeys import is_secret
from builder.errors import LockshipError, StoreError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

__all__ = ["Address", "connected", "resolve", "within"]

T = TypeVar("T")

# by database: the drivers that work without asyncio, best first: (SQLAlchemy's name, module, package)
_DRIVERS: Final = {
    "postgresql": (
        ("psycopg", "psycopg", "psycopg[binary]"),
        ("psycopg2", "psycopg2", "psycopg2-binary"),
        ("pg8000", "pg8000", "pg8000"),
    ),
    "mysql": (
        ("pymysql", "pymysql", "pymysql"),
        ("mysqldb", "MySQLdb", "mysqlclient"),
        ("mysqlconnector", "mysql.connector", "mysql-connector-python"),
    ),
}
_DRIVERS["mariadb"] = _DRIVERS["mysql"]
_ASYNC: Final = frozenset(("asyncpg", "aiosqlite", "aiomysql", "asyncmy", "psycopg_async"))
_PACKAGES: Final = {module: package for drivers in _DRIVERS.values() for _, module, package in drivers}
_LOGIN: Final = re.compile(
    r"(?i)password authentication failed|no password supplied|access denied for user|login failed|"
    r"authentication failed|role \"[^\"]*\" does not exist|no pg_hba.conf entry"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A database's address. `reference` is how the project names it, `shown` what people may see of the address."""

    reference: str
    shown: str
    url: URL = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def scrubbed(self, text: str) -> str:
        """`text`, a driver's words, on one line and without the password."""
        text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@'\"`]*@", r"\1", text)
        for secret in self.secrets:
            text = text.replace(secret, "****")
        return " ".join(text.split())[:300]


def resolve(reference: str, environ: Mapping[str, str], root: Path = Path()) -> Address:
    """What ``env:NAME``, ``file:PATH`` or a URL leads to; paths are relative to `root`.

    Raises UsageError when there is nothing, when that is no URL, and when SQLAlchemy isn't installed.
    """
    if find_spec("sqlalchemy") is None:
        raise UsageError(
            "reading a database's schema needs SQLAlchemy", hint="pip install 'lockship[database]', and the driver"
        )
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    text = _text(reference, environ, root)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # neither's words: they have the address in them
        where = "the database's address" if "://" in reference else reference
        hint = "write it like postgresql://user:password@host:5432/name; %-escape what is special in a password"
        raise UsageError(f"{where} is not the URL of a database", hint=hint) from None
    found = {str(url.password or ""), unquote(urlsplit(text).password or "") if _parses(text) else ""}
    for name, value in url.query.items():
        if is_secret(name):
            found |= {value} if isinstance(value, str) else set(value)
    secrets = {quoted for secret in found if secret for quoted in (secret, quote(secret, safe=""))}
    return Address(reference, _shown(url), url, tuple(sorted(secrets, key=len, reverse=True)))


def _parses(text: str) -> bool:
    try:
        return urlsplit(text).scheme != ""
    except ValueError:
        return False


def _text(reference: str, environ: Mapping[str, str], root: Path) -> str:
    if reference.startswith("env:"):
        name = reference.removeprefix("env:")
        value = environ.get(name, "").strip()
        if not value:
            raise UsageError(
                f"{name} is not set: it holds the database's URL", hint=f"export {name}=…, or correct `url`"
            )
        return value
    if reference.startswith("file:"):
        path = root / reference.removeprefix("file:")
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            says = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise UsageError(f"cannot read the database's URL: {says}", file=path, hint="correct `url`") from None
    return reference


def _shown(url: URL) -> str:
    backend = url.drivername.partition("+")[0]
    if backend == "sqlite":
        return f"sqlite:///{url.database or ''}"
    host = url.host or url.query.get("host") or ""
    port = f":{url.port}" if url.port else ""
    return f"{backend}://{host if isinstance(host, str) else ','.join(host)}{port}/{url.database or ''}"


def within(seconds: float, work: Callable[[], T], late: LockshipError) -> T:
    """``work()``, or `late` when it takes longer: no driver keeps every promise about time."""
    results: list[T] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)
        finally:
            over.set()

    # a daemon: a server that doesn't answer must not keep the process alive
    threading.Thread(target=run, name="lockship-database", daemon=True).start()
    if not over.wait(seconds):
        raise late
    if failures:
        raise failures[0]
    return results[0]


@contextmanager
def connected(address: Address, root: Path, timeout: float) -> Iterator[Connection]:
    """A connection that changes nothing: read only, as far as the database knows such a thing.

    `timeout` in seconds, for the connection and for each statement. Raises UsageError when the driver is missing,
    StoreError when the database doesn't answer, refuses the login, or refuses to be read.
    """
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(address, root, timeout)
    try:
        try:
            connection = engine.connect()
        except SQLAlchemyError as error:
            raise _unreachable(address, error) from None
        with connection:
            try:
                yield _calm(connection, timeout)
            except SQLAlchemyError as error:
                says = address.scrubbed(str(getattr(error, "orig", None) or error))
                hint = "the user needs to see the tables and views that [database] names"
                raise StoreError(f"cannot read the schema of {address.shown}: {says}", hint=hint) from None
    finally:
        engine.dispose()


def _calm(connection: Connection, timeout: float) -> Connection:
    """One view of the catalog for all questions, and no question that goes on when nobody waits any more."""
    if connection.dialect.name != "postgresql":
        return connection
    from sqlalchemy import text

    calm = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    calm.execute(text(f"SET LOCAL statement_timeout = {math.ceil(timeout * 1000)}"))
    return calm


def _engine(address: Address, root: Path, timeout: float) -> Engine:
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    url = _with_driver(address)
    backend, _, driver = url.drivername.partition("+")
    options: dict[str, Any] = {"poolclass": NullPool}
    if backend == "sqlite":
        options["creator"] = _sqlite(address, root, timeout)
    elif driver in ("psycopg", "psycopg2", "pymysql", "mysqldb"):
        options["connect_args"] = {"connect_timeout": max(1, math.ceil(timeout))}
    try:
        return create_engine(url, **options)
    except NoSuchModuleError:
        raise UsageError(
            f"SQLAlchemy knows no database called {url.drivername!r}",
            hint="pip install the package with its dialect beside lockship; dialects are listed at "
            "https://docs.sqlalchemy.org/en/20/dialects/",
        ) from None
    except ModuleNotFoundError as error:
        raise _no_driver(url.drivername, error.name or "", _PACKAGES.get(error.name or "", error.name or "")) from None
    except (ArgumentError, TypeError, ValueError) as error:
        raise UsageError(
            f"the URL of {address.shown} can't be used: {address.scrubbed(str(error))}",
            hint=f"correct what {address.reference} holds" if "://" not in address.reference else "correct `url`",
        ) from None


def _no_driver(name: str, module: str, package: str) -> UsageError:
    return UsageError(
        f"the driver for {name} is not installed beside lockship: there is no Python module {module}",
        hint=f"pip install '{package}'",
    )


def _with_driver(address: Address) -> URL:
    """The URL with a driver that is there, and that works without asyncio, where none was chosen."""
    backend, _, driver = address.url.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend  # libpq's short form
    known = _DRIVERS.get(backend)
    if driver and driver not in _ASYNC:
        return address.url.set(drivername=f"{backend}+{driver}")
    if known is None:
        return address.url.set(drivername=backend)
    for name, module, _package in known:
        if find_spec(module.partition(".")[0]) is not None:
            return address.url.set(drivername=f"{backend}+{name}")
    _, module, package = known[0]
    raise _no_driver(backend, module, package)


def _sqlite(address: Address, root: Path, timeout: float) -> Callable[[], Any]:
    """Opens the file for reading alone: SQLite would make one that isn't there."""
    import sqlite3

    name = address.url.database or ""
    if name in ("", ":memory:"):
        raise UsageError("a SQLite database in memory has no schema to be read", hint="write sqlite:///PATH")
    path = root / unquote(urlsplit(name).path if name.startswith("file:") else name)
    if not path.is_file():
        raise StoreError(f"there is no database {path}", hint="make it, or correct the URL; paths start at the project")
    where = f"file:{quote(str(path.absolute()))}?mode=ro"
    return lambda: sqlite3.connect(where, uri=True, timeout=timeout, check_same_thread=False)


def _unreachable(address: Address, error: Exception) -> StoreError:
    says = address.scrubbed(str(getattr(error, "orig", None) or error))
    if _LOGIN.search(says):
        return StoreError(
            f"{address.shown} refuses the login: {says}",
            hint=f"look at the user and the password in {address.reference}"
            if "://" not in address.reference
            else "put a URL with a password where env:NAME or file:PATH leads, or use the driver's own ways",
        )
    return StoreError(f"{address.shown} does not answer: {says}", hint="is the database up, and reachable from here?")
