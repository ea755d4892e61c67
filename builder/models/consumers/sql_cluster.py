"""A PostgreSQL server of our own for a minute: its own folder, a Unix socket that nobody else may use, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from builder.errors import StoreError
from builder.files import temporary_folder

__all__ = ["cluster_obstacle", "temporary_cluster", "without_server"]

_PROGRAMS: Final = ("initdb", "postgres", "psql")
_USERS: Final = ("postgres", "nobody")  # who runs it when we are root: it refuses to be
_PATIENCE: Final = 60.0  # seconds until it answers
_NAME: Final = "lockship"


def cluster_obstacle(environ: Mapping[str, str]) -> str | None:
    """Why no server can be started here."""
    lacking = [name for name in _PROGRAMS if _program(name, environ) is None]
    if lacking:
        return f"this machine has no {' and no '.join(lacking)}"
    return None if os.getuid() or _account() else f"root may not run it, and there is no user {' or '.join(_USERS)}"


@contextmanager
def temporary_cluster(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Libpq's environment variables for a fresh server, which is gone when the context ends.

    Raises StoreError when it doesn't start, with its last words.
    """
    account = None if os.getuid() else _account()
    with temporary_folder("lockship-pg-") as folder:
        data = folder / "d"
        data.mkdir(mode=0o700)
        if account is not None:
            folder.chmod(0o711)
            os.chown(data, account.pw_uid, account.pw_gid)
        _initialise(data, environ, account)
        log = data / "server.log"
        command = [_found("postgres", environ), "-D", str(data), "-k", str(data)]
        for setting in ("listen_addresses=", "unix_socket_permissions=0700", "fsync=off", "max_connections=10"):
            command += ["-c", setting]
        user, group = _ids(account)
        with log.open("wb") as output:
            server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=data,
                env=without_server(environ), start_new_session=True, user=user, group=group,
            )  # fmt: skip
        try:
            database = {"PGHOST": str(data), "PGUSER": _NAME, "PGDATABASE": "postgres", "PGPORT": "5432"}
            _wait(server, database, environ, log)
            yield database
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing here is to be kept
            server.wait()


def _initialise(data: Path, environ: Mapping[str, str], account: pwd.struct_passwd | None) -> None:
    command = [_found("initdb", environ), "-D", str(data), "-U", _NAME, "--auth=trust", "--encoding=UTF8"]
    command += ["--no-locale", "--no-sync"]
    user, group = _ids(account)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, cwd=data, env=without_server(environ), check=False,
        user=user, group=group,
    )  # fmt: skip
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-300:]
        raise StoreError(f"cannot make a PostgreSQL database: {said}", hint="name one of yours with --database")


def _wait(server: subprocess.Popen[bytes], database: Mapping[str, str], environ: Mapping[str, str], log: Path) -> None:
    command = [_found("psql", environ), "--no-psqlrc", "--quiet", "--no-password", "--command=SELECT 1"]
    end = time.monotonic() + _PATIENCE
    while server.poll() is None and time.monotonic() < end:
        variables = {**without_server(environ), **database}
        if (
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, env=variables, check=False
            ).returncode
            == 0
        ):
            return
        time.sleep(0.05)
    said = " ".join(log.read_text(errors="replace").split())[-300:]
    raise StoreError(
        f"the temporary PostgreSQL server does not start: {said}", hint="name one of yours with --database"
    )


def without_server(environ: Mapping[str, str]) -> dict[str, str]:
    """Without the developer's own server."""
    return {key: value for key, value in environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}


def _account() -> pwd.struct_passwd | None:
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _ids(account: pwd.struct_passwd | None) -> tuple[int | None, int | None]:
    return (None, None) if account is None else (account.pw_uid, account.pw_gid)


def _found(name: str, environ: Mapping[str, str]) -> str:
    program = _program(name, environ)
    assert program is not None
    return program


def _program(name: str, environ: Mapping[str, str]) -> str | None:
    """On PATH, or where Debian keeps what only servers need."""
    if found := shutil.which(name, path=environ.get("PATH")):
        return found
    return next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)
