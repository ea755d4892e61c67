"""Key pairs: made, read back, by us and by openssl; and what is no key."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import LockshipError, RefusedError, UsageError
from builder.releases import keys
from builder.releases.keys import KEY_VARIABLE, PASSWORD_VARIABLE, PrivateKey
from tests.support.cosign import cosign
from tests.support.require import need

PASSWORD = "correct horse, batteries & ümläute"


def silent(warning: str) -> None:
    raise AssertionError(warning)


def test_a_pair_comes_back(tmp_path: Path) -> None:
    private, public, made = keys.create(tmp_path / "new", "cosign", PASSWORD)
    assert (private, public) == (tmp_path / "new/cosign.key", tmp_path / "new/cosign.pub")
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in private.read_bytes()
    read = keys.read_private(private, PASSWORD, warn=silent)
    assert read.public == made == keys.read_public(public)
    assert made.accepts(read.sign(b"data"), b"data")
    assert list(tmp_path.glob("new/*")) in ([private, public], [public, private])


def test_openssl_reads_them_and_agrees_on_the_fingerprint(tmp_path: Path) -> None:
    need("openssl", shutil.which("openssl"), "apt-get install openssl")
    private, public, made = keys.create(tmp_path, "cosign", "plain")

    def openssl(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout

    der = openssl("pkey", "-pubin", "-in", str(public), "-outform", "DER")
    assert made.fingerprint == "SHA256:" + hashlib.sha256(der).hexdigest()
    assert openssl("pkey", "-in", str(private), "-passin", "pass:plain", "-pubout", "-outform", "DER") == der
    (tmp_path / "data").write_bytes(b"signed by openssl")
    words = ["dgst", "-sha256", "-sign", str(private), "-passin", "pass:plain", str(tmp_path / "data")]
    assert made.accepts(openssl(*words), b"signed by openssl")


def test_signatures_are_the_same_each_time(key: PrivateKey) -> None:
    """RFC 6979: nothing hangs upon randomness, and the same evidence has the same bytes."""
    assert key.sign(b"data") == key.sign(b"data") != key.sign(b"other")


@given(st.binary(), st.binary())
def test_a_signature_is_of_these_bytes_alone(signed: bytes, shown: bytes) -> None:
    key = keys.generate()
    assert key.public.accepts(key.sign(signed), shown) == (signed == shown)
    assert not key.public.accepts(shown, signed)


@pytest.mark.parametrize("taken", ["cosign.key", "cosign.pub"])
def test_nothing_is_replaced(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(RefusedError, match="is there already") as caught:
        keys.create(tmp_path, "cosign", None)
    assert caught.value.file == str(tmp_path / taken)
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "cosign.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError):
        keys.create(tmp_path, "cosign", None)
    assert not (tmp_path / "elsewhere").exists()


def test_half_a_pair_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(keys, "write_file", full)
    with pytest.raises(UsageError, match="No space left"):
        keys.create(tmp_path, "cosign", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../cosign", "a/b", ".hidden", "-x", "a b"])
def test_a_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a name"):
        keys.create(tmp_path, name, None)


def test_an_empty_password_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="protects nothing"):
        keys.create(tmp_path, "cosign", "")
    assert list(tmp_path.iterdir()) == []


def pem(key: object) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined,no-any-return]


P256 = ec.generate_private_key(ec.SECP256R1())
PUBLIC = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SEALED = keys.generate().to_pem("right")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no private key"),
        (b"\xff\x00 nonsense", "is no private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no private key"),
        (PUBLIC, "is a public key"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "on the curve secp384r1"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "on the curve secp256k1"),
        (pem(ed25519.Ed25519PrivateKey.generate()), r"another kind \(Ed25519\)"),
        (pem(rsa.generate_private_key(65537, 1024)), r"another kind \(RSA\)"),
        (SEALED, "cannot be decrypted"),
        (SEALED[:60] + b"A" * 20 + SEALED[80:], "cannot be decrypted|is no private key"),
    ],
)
def test_what_is_no_private_key(content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        keys.parse_private(content, "wr0ng-w0rd", "here")
    assert (caught.value.exit_code, caught.value.file) == (2, "here")
    assert caught.value.hint
    assert "wr0ng-w0rd" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is no public key"),
        (pem(P256), "is a private key"),
        (
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "another kind",
        ),
    ],
)
def test_what_is_no_public_key(content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        keys.parse_public(content, "here")
    assert caught.value.hint


def test_other_ways_to_write_the_same_key(tmp_path: Path) -> None:
    """What openssl has written over the years; a password that isn't needed doesn't harm."""
    old = P256.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    expected = keys.parse_public(PUBLIC, "")
    for content in (pem(P256), old, parameters + old, pem(P256).replace(b"\n", b"\r\n")):
        assert keys.parse_private(content, None, "").public == expected
        assert keys.parse_private(content, "not needed", "").public == expected


def test_no_password_asks_and_then_gives_up() -> None:
    assert keys.parse_private(SEALED, None, "", ask=lambda: "right").public
    for ask in (None, lambda: None, lambda: ""):
        with pytest.raises(UsageError, match="no password") as caught:
            keys.parse_private(SEALED, None, "here", ask=ask)
        assert PASSWORD_VARIABLE in str(caught.value.hint)


def test_a_key_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    private, _, _ = keys.create(tmp_path, "cosign", PASSWORD)
    private.chmod(0o644)
    heard: list[str] = []
    keys.read_private(private, PASSWORD, warn=heard.append)
    assert heard == [f"{private} can be read by others than its owner: chmod 600 {private}"]


def test_the_environment_may_hold_the_key(tmp_path: Path, other: PrivateKey) -> None:
    environ = {KEY_VARIABLE: other.to_pem(PASSWORD).decode(), PASSWORD_VARIABLE: PASSWORD}
    assert keys.signing_key({}, warn=silent) is None
    assert keys.signing_key({KEY_VARIABLE: " \n"}, warn=silent) is None
    assert keys.signing_key(environ, warn=silent) == other
    private, _, public = keys.create(tmp_path, "cosign", PASSWORD)
    found = keys.signing_key(environ, private, warn=silent)  # the file that is named goes before
    assert found is not None
    assert found.public == public
    with pytest.raises(UsageError, match="no private key") as caught:
        keys.signing_key({KEY_VARIABLE: "/run/secrets/key"}, warn=silent)
    assert caught.value.file == KEY_VARIABLE
    assert "--key a file" in str(caught.value.hint)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    for name, said in (("nowhere", "No such file"), (".", "Is a directory"), ("large", "too large")):
        with pytest.raises(UsageError, match=said):
            keys.read_public(tmp_path / name)


def test_a_secret_is_in_no_text(key: PrivateKey) -> None:
    assert repr(key) == "PrivateKey(public=PublicKey())"
    try:
        keys.parse_private(SEALED, PASSWORD, "here")
    except LockshipError as error:
        assert PASSWORD not in repr(error)


def test_cosign_takes_our_pairs(tmp_path: Path) -> None:
    """Unencrypted ones, which it seals in its own way; and those we read."""
    private, public, made = keys.create(tmp_path, "ours", None)
    done = cosign("import-key-pair", "--key", str(private), "--output-key-prefix", "theirs", cwd=tmp_path, password="x")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "theirs.pub").read_bytes() == public.read_bytes()
    assert keys.read_private(tmp_path / "theirs.key", "x", warn=silent).public == made
