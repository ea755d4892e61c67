"""Key pairs that sign releases: ECDSA on the curve P-256, the only kind that every reader of cosign's format takes.

A private key is PKCS #8 (RFC 5958) in PEM, encrypted with a password; a public key is a SubjectPublicKeyInfo (RFC 5480)
in PEM, so openssl, cosign and others read both. Private keys that cosign itself wrote are read, too.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.errors import LockshipError, RefusedError, UsageError
from builder.files import new_file, write_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey

__all__ = [
    "KEY_VARIABLE",
    "PASSWORD_VARIABLE",
    "PrivateKey",
    "PublicKey",
    "create",
    "generate",
    "parse_private",
    "parse_public",
    "read_any",
    "read_private",
    "read_public",
    "require_unused",
    "signing_key",
]

KEY_VARIABLE: Final = "LOCKSHIP_SIGNING_KEY"
PASSWORD_VARIABLE: Final = "LOCKSHIP_SIGNING_PASSWORD"  # noqa: S105  a name

_LARGEST: Final = 64 << 10  # bytes; a file of more is no key
_LABEL: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_COSIGN: Final = frozenset({"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"})

Ask = Callable[[], str | None]
"""Asks somebody for the password of a private key; None when there is nobody."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What checks signatures; `der` is its SubjectPublicKeyInfo."""

    der: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """``SHA256:`` and the 64 hex digits that ``openssl pkey -pubin -outform DER | sha256sum`` prints."""
        return f"SHA256:{hashlib.sha256(self.der).hexdigest()}"

    @property
    def pem(self) -> bytes:
        """The key's file."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._loaded().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def accepts(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` (ECDSA with SHA-256, DER) was made over `data` with this key's other half."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._loaded().verify(signature, data, _scheme(deterministic=False))
        except InvalidSignature:
            return False
        return True

    def _loaded(self) -> EllipticCurvePublicKey:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        key = load_der_public_key(self.der)
        assert isinstance(key, EllipticCurvePublicKey)
        return key


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What signs; `public` is its other half."""

    public: PublicKey
    _key: EllipticCurvePrivateKey = field(repr=False, compare=False)

    def sign(self, data: bytes) -> bytes:
        """An ECDSA signature with SHA-256, DER; the same each time (RFC 6979) where OpenSSL can, from 3.2 on."""
        from cryptography.exceptions import UnsupportedAlgorithm

        try:
            return self._key.sign(data, _scheme(deterministic=True))
        except UnsupportedAlgorithm:
            return self._key.sign(data, _scheme(deterministic=False))

    def to_pem(self, password: str | None) -> bytes:
        """The key's file, encrypted unless `password` is None."""
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            KeySerializationEncryption,
            NoEncryption,
            PrivateFormat,
        )

        sealed: KeySerializationEncryption = NoEncryption()
        if password is not None:
            if not password:
                raise UsageError("an empty password protects nothing", hint="leave it out by name: --no-password")
            sealed = BestAvailableEncryption(password.encode())
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)


def generate() -> PrivateKey:
    """A new key pair, from the operating system's randomness."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    return _private(generate_private_key(SECP256R1()))


def require_unused(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a pair that is to be made; raises as `create`."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise UsageError(f"not a name for a key: {name!r}", hint="letters, digits and . _ -; --output names the folder")
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    for file in (private, public):
        if file.exists() or file.is_symlink():
            raise RefusedError(
                "is there already, and is not replaced: what it signed could not be checked any more",
                file=file,
                hint="give the new pair another name, or move the old one away",
            )
    return private, public


def create(folder: Path, name: str, password: str | None) -> tuple[Path, Path, PublicKey]:
    """A new pair in ``NAME.key`` (for its owner alone) and ``NAME.pub``, as ``cosign generate-key-pair`` calls them.

    Raises RefusedError when one of them is there, UsageError for a name that is none and when nothing can be written.
    """
    private, public = require_unused(folder, name)
    made = generate()
    sealed = made.to_pem(password)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_pair(private, sealed, public, made.public.pem)
    except OSError as error:
        raise UsageError(f"cannot write the keys: {error.strerror}", file=folder, hint="name another folder") from error
    return private, public, made.public


def _write_pair(private: Path, sealed: bytes, public: Path, pem: bytes) -> None:
    """Both or none."""
    with new_file(private) as handle:  # nothing that came into being just now is replaced
        handle.write(sealed)
    try:
        write_file(public, pem)
    except BaseException:
        private.unlink()
        raise


def signing_key(
    environ: Mapping[str, str], file: Path | None = None, *, ask: Ask | None = None, warn: Callable[[str], None]
) -> PrivateKey | None:
    """The private key in `file`, or else in the variable LOCKSHIP_SIGNING_KEY (PEM); None when neither names one.

    The password is LOCKSHIP_SIGNING_PASSWORD, or what `ask` answers. Raises UsageError for what is no such key.
    """
    password = environ.get(PASSWORD_VARIABLE) or None
    if file is not None:
        return read_private(file, password, ask=ask, warn=warn)
    if not (text := environ.get(KEY_VARIABLE, "").strip()):
        return None
    return parse_private(text.encode(), password, KEY_VARIABLE, ask=ask)


def read_private(
    path: Path, password: str | None, *, ask: Ask | None = None, warn: Callable[[str], None]
) -> PrivateKey:
    """The private key in the file `path`; `warn` hears when others may read it. See `parse_private`."""
    data = _read(path)
    key = parse_private(data, password, str(path), ask=ask)
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        warn(f"{path} can be read by others than its owner: chmod 600 {path}")
    return key


def parse_private(pem: bytes, password: str | None, where: str, *, ask: Ask | None = None) -> PrivateKey:
    """The private key in `pem`, from `where`: PKCS #8 or cosign's own; `password` is not used when it has none.

    Raises UsageError when it is none, of another kind, or the password is missing or wrong.
    """
    label = _label(pem)
    if label == "PUBLIC KEY":
        raise UsageError("is a public key", file=where, hint="signing takes the private one, NAME.key")
    if "PRIVATE KEY" not in label:
        raise _no_key("private", where, f"expected a key in PEM ({KEY_VARIABLE} takes the text, --key a file)")
    encrypted = label.startswith("ENCRYPTED ") or b"\nProc-Type: 4,ENCRYPTED" in pem.replace(b"\r\n", b"\n")
    if encrypted and password is None and (ask is None or not (password := ask())):
        raise UsageError("is encrypted, and there is no password", file=where, hint=f"set {PASSWORD_VARIABLE}")
    if label in _COSIGN:
        from builder.releases.cosignkeys import unseal

        assert password is not None
        return _parse_der(unseal(pem, password, where), where)
    return _parse_pem(pem, password if encrypted else None, where)


def _parse_pem(pem: bytes, password: str | None, where: str) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return _checked(load_pem_private_key(pem, None if password is None else password.encode()), where)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if password is not None:
            raise UsageError(
                "cannot be decrypted: the password is wrong, or the file is damaged",
                file=where, hint=f"the password comes from {PASSWORD_VARIABLE}, or is asked for on a terminal",
            ) from error  # fmt: skip
        raise _no_key("private", where, "the file is damaged, or of a kind that is not known") from error


def _parse_der(der: bytes, where: str) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        return _checked(load_der_private_key(der, None), where)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key("private", where, "what it holds encrypted is no key") from error


def read_any(
    path: Path, environ: Mapping[str, str], *, ask: Ask | None = None, warn: Callable[[str], None]
) -> PublicKey:
    """The public key in the file `path`, or the public half of the private key in it; see `parse_private`."""
    if _label(_read(path)) == "PUBLIC KEY":
        return read_public(path)
    return read_private(path, environ.get(PASSWORD_VARIABLE) or None, ask=ask, warn=warn).public


def read_public(path: Path) -> PublicKey:
    """The public key in the file `path`; see `parse_public`."""
    return parse_public(_read(path), str(path))


def parse_public(pem: bytes, where: str) -> PublicKey:
    """The public key in `pem`, from `where`; raises UsageError when it is none, or of another kind."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    if "PRIVATE KEY" in (label := _label(pem)):
        raise UsageError("is a private key", file=where, hint="checking takes the public one, NAME.pub; keep this away")
    if label != "PUBLIC KEY":
        raise _no_key("public", where, "expected a key in PEM, as `lockship keys create` writes NAME.pub")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key("public", where, "the file is damaged, or of a kind that is not known") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise _wrong_kind(key, where)
    return PublicKey(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _checked(key: object, where: str) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise _wrong_kind(key, where)
    return _private(key)


def _private(key: EllipticCurvePrivateKey) -> PrivateKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return PrivateKey(PublicKey(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), key)


def _scheme(*, deterministic: bool) -> ECDSA:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return ECDSA(SHA256(), deterministic_signing=deterministic)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}", file=path, hint="`lockship keys create` makes a key pair"
        ) from error
    if len(data) > _LARGEST:
        raise UsageError("is too large for a key", file=path, hint="name the PEM file of a key")
    return data


def _label(pem: bytes) -> str:
    """What the PEM says it is (RFC 7468); the parameters of a curve, which openssl writes first, are passed over."""
    labels = [found for found in _LABEL.findall(pem.decode("ascii", "replace")) if found != "EC PARAMETERS"]
    return labels[0] if labels else ""


def _wrong_kind(key: object, where: str) -> LockshipError:
    curve = getattr(getattr(key, "curve", None), "name", "")
    what = f"is a key on the curve {curve}" if curve else f"is a key of another kind ({_kind(key)})"
    return UsageError(what, file=where, hint="ECDSA on P-256 (secp256r1) is expected; `lockship keys create` makes one")


def _kind(key: object) -> str:
    return re.sub(r"(Private|Public)Key.*|^_", "", type(key).__name__) or "unknown"


def _no_key(half: str, where: str, hint: str) -> LockshipError:
    return UsageError(f"is no {half} key", file=where, hint=hint)
