"""Private keys as ``cosign generate-key-pair`` writes them: JSON in PEM, scrypt (RFC 7914) and NaCl's secretbox.

Only reading. The stream cipher is here because cryptography has none of its family; a mistake in it could not go
unnoticed, for the box is authenticated (Poly1305, of cryptography) by a key that comes out of that stream.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Mapping
from typing import Any, Final

from builder.errors import LockshipError, UsageError

__all__ = ["unseal"]

_BODY: Final = re.compile(r"-----BEGIN [A-Z ]+-----([A-Za-z0-9+/=\s]*)-----END")
_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
_MASK: Final = 0xFFFFFFFF
_MEMORY: Final = 256 << 20  # bytes that scrypt may take; cosign's own parameters take 64 MiB
_TAG: Final = 16

# Quarter rounds of a double round: columns, then rows (D. J. Bernstein, "The Salsa20 family of stream ciphers", 4.1).
_QUARTERS: Final = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip


def unseal(pem: bytes, password: str, where: str) -> bytes:
    """The PKCS #8 DER in `pem`, from `where`; raises UsageError when it is damaged or the password is wrong."""
    try:
        document = json.loads(_decoded(_BODY.search(pem.decode("ascii"))))
        key = _derived(document["kdf"], password)
        cipher = document["cipher"]
        if cipher["name"] != "nacl/secretbox":
            raise _unknown(where, f"cipher {cipher['name']!r}"[:60])
        opened = _open_box(key, _bytes(cipher["nonce"]), _bytes(document["ciphertext"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise _unknown(where, "the file is damaged") from error
    if opened is None:
        raise UsageError(
            "cannot be decrypted: the password is wrong, or the file is damaged",
            file=where, hint="the password comes from LOCKSHIP_SIGNING_PASSWORD, or is asked for on a terminal",
        )  # fmt: skip
    return opened


def _unknown(where: str, why: str) -> LockshipError:
    return UsageError(
        f"is no private key of cosign's that can be read: {why}",
        file=where,
        hint="`lockship keys create` makes a pair that both lockship and cosign take",
    )


def _decoded(found: re.Match[str] | None) -> bytes:
    if found is None:
        raise ValueError("no PEM")
    return _bytes("".join(found[1].split()))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _derived(kdf: Mapping[str, Any], password: str) -> bytes:
    import hashlib

    if kdf["name"] != "scrypt":
        raise ValueError("a function that is not known")
    params = kdf["params"]
    return hashlib.scrypt(
        password.encode(), salt=_bytes(kdf["salt"]), n=params["N"], r=params["r"], p=params["p"],
        maxmem=_MEMORY, dklen=32,
    )  # fmt: skip


def _open_box(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """What `sealed` holds, or None when it is not authentic (NaCl, "Secret-key authenticated encryption")."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    if len(nonce) != 24 or len(sealed) < _TAG:
        raise ValueError("a box of another size")
    tag, hidden = sealed[:_TAG], sealed[_TAG:]
    stream = _xsalsa20(key, nonce, 32 + len(hidden))
    try:
        Poly1305.verify_tag(stream[:32], hidden, tag)
    except InvalidSignature:
        return None
    return bytes(one ^ other for one, other in zip(hidden, stream[32:], strict=True))


def _xsalsa20(key: bytes, nonce: bytes, length: int) -> bytes:
    """`length` bytes of the stream (D. J. Bernstein, "Extending the Salsa20 nonce")."""
    first = _rounds(_matrix(key, nonce[:16]))
    inner = struct.pack("<8I", *(first[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))
    blocks = b""
    for count in range(-(-length // 64)):
        start = _matrix(inner, nonce[16:] + struct.pack("<Q", count))
        blocks += struct.pack("<16I", *((one + two) & _MASK for one, two in zip(start, _rounds(start), strict=True)))
    return blocks[:length]


def _matrix(key: bytes, input_: bytes) -> list[int]:
    words, text = struct.unpack("<8I", key), struct.unpack("<4I", input_)
    return [_SIGMA[0], *words[:4], _SIGMA[1], *text, _SIGMA[2], *words[4:], _SIGMA[3]]


def _rounds(start: list[int]) -> list[int]:
    """Twenty rounds, without the addition that ends the block."""
    state = list(start)
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            for target, one, two, by in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
                total = (state[one] + state[two]) & _MASK
                state[target] ^= ((total << by) | (total >> (32 - by))) & _MASK
    return state
