"""Private keys that cosign wrote."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from builder.errors import UsageError
from builder.releases import cosignkeys, keys
from tests.support.cosign import cosign

# Written by `cosign generate-key-pair` v2.6.5, for nothing but these tests.
PRIVATE = b"""\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJ4VEFHWWUwRTFiVTl4WGlKVmUzakRkQWtiZW93b3JZ
M25jNzNRRFBMZ3JnPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiI2NUd5SHpNcVB4cTJ0aTZRVVFQQldJQ0hCZ2FrbGVudiJ9LCJj
aXBoZXJ0ZXh0IjoiVHFjK3hPWElOQVczZjVDQTE3aGFWSzRBck5hMmhUeHhKdTg2
V2dyN09xRzJqNUZDMVpwWHRXN1p1Ukp3ZHNTYk5JV09kOUxVWk5hZ25yU0pRcFhM
OFEzaGVudk9vUXJnWVQzTzlINDdCQVh1QlJqa3p5dTlMUW5kbHFVOWo2SitLU3lk
ZWxoMlVJdEhtNDRVTjJ2ZGpzSG1HT2ozb25JZmxSall2Y0pTc0NXdVQ4UUNFTlZo
Z1pUcmp3amcwQ2lxNkg5dzEyMUp2cmphVHc9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
"""
PUBLIC = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE17wqNdvK0iHb1APEWtHfd0q72XX9
e9Ilj+rHXx60RSvCCGYprX+zm2vB8icc6Kaz/XSDWVwWKwHV57WK9EZC/Q==
-----END PUBLIC KEY-----
"""
PASSWORD = "pass word"


def test_it_is_read() -> None:
    expected = keys.parse_public(PUBLIC, "")
    assert keys.parse_private(PRIVATE, PASSWORD, "").public == expected
    older = PRIVATE.replace(b"SIGSTORE", b"COSIGN")
    assert keys.parse_private(older, PASSWORD, "").public == expected


def test_a_wrong_password() -> None:
    with pytest.raises(UsageError, match="cannot be decrypted"):
        keys.parse_private(PRIVATE, "password", "here")
    with pytest.raises(UsageError, match="no password"):
        keys.parse_private(PRIVATE, None, "here")


def changed(**parts: Any) -> bytes:
    """The key with other JSON in it."""
    document = json.loads(base64.b64decode("".join(PRIVATE.decode().splitlines()[1:-1])))
    text = base64.b64encode(json.dumps(document | parts).encode()).decode()
    return f"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n{text}\n-----END".encode()


HUGE = {"name": "scrypt", "params": {"N": 1 << 40, "r": 8, "p": 1}, "salt": ""}


@pytest.mark.parametrize(
    "content",
    [
        PRIVATE[:200],
        PRIVATE.replace(b"eyJ", b"!!!"),
        changed(kdf=None),
        changed(kdf={"name": "argon2id"}),
        changed(kdf=HUGE),
        changed(cipher={"name": "nacl/secretbox", "nonce": "AAAA"}),
        changed(cipher={"name": "rot13", "nonce": ""}),
        changed(ciphertext="AAAA"),
        changed(ciphertext=5),
    ],
)
def test_a_damaged_one(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"no private key of cosign's|is no private key") as caught:
        keys.parse_private(content, PASSWORD, "here")
    assert caught.value.hint


def test_a_changed_one_is_not_authentic() -> None:
    document = json.loads(base64.b64decode("".join(PRIVATE.decode().splitlines()[1:-1])))
    sealed = bytearray(base64.b64decode(document["ciphertext"]))
    sealed[40] ^= 1
    with pytest.raises(UsageError, match="cannot be decrypted"):
        keys.parse_private(changed(ciphertext=base64.b64encode(sealed).decode()), PASSWORD, "here")


def test_the_stream_of_the_published_example() -> None:
    """NaCl, tests/stream3.c."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    stream = cosignkeys._xsalsa20(key, nonce, 100)
    assert stream[:32].hex() == "eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880"
    assert len(stream) == 100


def test_what_cosign_writes_today(tmp_path: Path) -> None:
    done = cosign("generate-key-pair", "--output-key-prefix", "real", cwd=tmp_path, password="wörd")
    assert done.returncode == 0, done.stderr
    found = keys.read_private(tmp_path / "real.key", "wörd", warn=lambda warning: None)
    assert found.public == keys.read_public(tmp_path / "real.pub")
