"""The commands below ``lockship keys``: key pairs that sign releases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from builder.cli.options import HERE, JsonOption, QuietOption, opened

__all__ = ["ask_password", "keys"]

keys = typer.Typer(help="Make and look at keys that sign releases.", no_args_is_help=True)


@keys.command("create")
def create_keys(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Write NAME.key and NAME.pub.")] = "cosign",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Write them here.")] = HERE,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Leave the private key unencrypted, for whoever gets the file.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a key pair (ECDSA P-256), as cosign takes it. Asks for a password, or takes LOCKSHIP_SIGNING_PASSWORD."""
    from builder.cli.terminal import relative
    from builder.releases.keys import create, require_unused

    terminal = opened(json, quiet)
    require_unused(output, name)  # before anybody types a password
    password = None if no_password else _new_password()
    private, public, key = create(output, name, password)
    if no_password:
        terminal.warn(f"{relative(private)} is not encrypted: whoever reads the file can sign releases")
    terminal.note(f"commit {public.name}, and name it in the project file: [signing] key; keep {private.name} away")
    document = {
        "private": str(private),
        "public": str(public),
        "fingerprint": key.fingerprint,
        "encrypted": not no_password,
    }
    terminal.result("keys-create", document, f"{relative(private)}\n{relative(public)}\n{key.fingerprint}")


@keys.command("show")
def show_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A public key, or a private one.")],
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print a key's fingerprint: sha256 of the public key."""
    from builder.releases.keys import read_any

    terminal = opened(json, quiet)
    key = read_any(file, os.environ, ask=ask_password, warn=terminal.warn)
    terminal.result("keys-show", {"file": str(file), "fingerprint": key.fingerprint}, key.fingerprint)


def ask_password() -> str | None:
    """The password of a private key, from whoever sits at the terminal; None when nobody does."""
    return _asked("password of the private key: ")


def _new_password() -> str:
    from builder.errors import UsageError
    from builder.releases.keys import PASSWORD_VARIABLE

    if password := os.environ.get(PASSWORD_VARIABLE):
        return password
    password = _asked("password for the private key: ")
    if not password:
        raise UsageError(
            "there is no password to encrypt the private key with",
            hint=f"set {PASSWORD_VARIABLE}, or leave the key unencrypted by name: --no-password",
        )
    if _asked("once more: ") != password:
        raise UsageError("the two passwords differ", hint="run it again; nothing was written")
    return password


def _asked(prompt: str) -> str | None:
    import sys
    from getpass import getpass

    if not sys.stdin.isatty():
        return None
    try:
        return getpass(prompt)
    except EOFError:
        return None
