"""Programs that keep credentials: ``docker-credential-NAME get`` (the protocol of docker/docker-credential-helpers)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from builder.errors import StoreError
from builder.network import redacted
from builder.registry.dockerconfig import Entry, Helper

__all__ = ["TIMEOUT", "ask_helper", "program_of"]

TIMEOUT: Final = 20.0  # seconds; one that asks somebody for a passphrase may need some
_NOTHING: Final = "credentials not found in native keychain"
_TOKEN: Final = "<token>"  # noqa: S105  # in place of a user's name: the secret is an identity token
_MOST: Final = 1 << 20  # bytes of output that are looked at


def program_of(helper: Helper) -> str:
    """The name of the helper's program."""
    return f"docker-credential-{helper.suffix}"


def ask_helper(helper: Helper, environ: Mapping[str, str], source: str, *, timeout: float = TIMEOUT) -> Entry:
    """What the helper keeps for its server; an empty entry when it keeps nothing.

    `source` is the file that names the helper, for messages. Raises StoreError when the program is missing, doesn't
    end within `timeout` seconds, fails, or answers something else than the protocol says.
    """
    name = program_of(helper)
    program = shutil.which(name, path=environ.get("PATH", os.defpath))
    if program is None:
        raise StoreError(
            f"the credential helper {name} is not installed, or not on PATH",
            hint=f"install it, or take it out of {source} and log in again",
            file=source,
        )
    status, output = _run(program, helper, environ, source, timeout)
    text = output[:_MOST].decode(errors="replace").strip()
    if text == _NOTHING:
        return Entry()
    if status != 0:
        said = _harmless(text)
        raise StoreError(
            f"the credential helper {name} failed (exit status {status}){f': {said}' if said else ''}",
            hint=f"try it: echo {helper.server} | {name} get",
            file=source,
        )
    return _parse(text, name, helper, source)


def _run(program: str, helper: Helper, environ: Mapping[str, str], source: str, timeout: float) -> tuple[int, bytes]:
    name = program_of(helper)
    try:
        process = subprocess.Popen(
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it isn't part of the protocol, and may tell secrets
            env=dict(environ),
            start_new_session=True,  # to end what it starts along with it
        )
    except OSError as error:
        raise StoreError(
            f"the credential helper {name} cannot be run: {error.strerror}",
            hint=f"see {program}",
            file=source,
        ) from error
    try:
        output, _ = process.communicate(helper.server.encode(), timeout=timeout)
    except subprocess.TimeoutExpired:
        raise StoreError(
            f"the credential helper {name} does not answer within {timeout:g} s",
            hint=f"it may wait for a passphrase or a login. Try it: echo {helper.server} | {name} get",
            file=source,
        ) from None  # the cause holds what it said so far
    finally:
        if process.returncode is None:
            _kill(process)
    return process.returncode, output


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _parse(text: str, name: str, helper: Helper, source: str) -> Entry:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    user = document.get("Username", "") if isinstance(document, dict) else None
    secret = document.get("Secret", "") if isinstance(document, dict) else None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise StoreError(
            f"the credential helper {name} answered something else than Username and Secret in JSON",
            hint=f"try it: echo {helper.server} | {name} get",
            file=source,
        ) from None
    return Entry(identity_token=secret) if user == _TOKEN else Entry(user, secret)


def _harmless(text: str) -> str:
    """The first line of a helper's complaint, without what could be a secret."""
    line = text.partition("\n")[0][:200]
    if "{" in line or "secret" in line.lower():
        return ""
    line = re.sub(r"[a-z]+://\S+", lambda found: redacted(found[0]), line)
    return re.sub(r"[A-Za-z0-9+_=.~-]{32,}", "…", line)
