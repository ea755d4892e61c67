from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from builder.deploy.secrets import Mask, resolve
from builder.errors import UsageError


def test_values_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"two\nlines\n")
    references = {"PASSWORD": "env:PROD_PASSWORD", "TOKEN": f"file:{file}"}
    assert resolve(references, {"PROD_PASSWORD": " a=b "}) == {"PASSWORD": " a=b ", "TOKEN": "two\nlines"}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "the secret PASSWORD is missing: env:PROD_PASSWORD is not set"),
        ({"PROD_PASSWORD": ""}, "the secret PASSWORD is missing: env:PROD_PASSWORD is empty"),
        ({"PROD_PASSWORD": "hunter2\0x"}, "the secret PASSWORD can't be a variable"),
    ],
)
def test_a_secret_that_is_missing_is_named_only(environ: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        resolve({"PASSWORD": "env:PROD_PASSWORD"}, {"OTHER": "hunter2", **environ})
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_files_that_are_no_secrets(tmp_path: Path) -> None:
    for content, words in ((b"\xffhunter2", "not UTF-8"), (b"", "is empty"), (b"hunter2" * 20_000, "too long")):
        file = tmp_path / "secret"
        file.write_bytes(content)
        with pytest.raises(UsageError, match=words) as caught:
            resolve({"KEY": f"file:{file}"}, {})
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(UsageError, match="No such file"):
        resolve({"KEY": f"file:{tmp_path}/none"}, {})
    with pytest.raises(UsageError, match="of a kind that can't be read here: secret:a/b"):
        resolve({"KEY": "secret:a/b"}, {})


def test_no_form_of_a_secret_is_shown() -> None:
    secret, key = 'p@ss "w/ord"\\', "-----BEGIN KEY-----\nMIGHAgEAMBMG\n-----END KEY-----"
    mask = Mask([secret, key, ""])
    assert mask(f"before {secret} after") == "before **** after"
    assert mask(json.dumps({"p": secret})) == '{"p": "****"}'
    assert mask(f"postgresql://ada:{quote(secret, safe='')}@host") == "postgresql://ada:****@host"
    assert mask(repr(secret)) == "'****'"
    assert mask(key.replace("\n", "\r\n")) == "****\r\n****\r\n****"
    assert "MIGHAgEAMBMG" not in repr(mask)


def test_one_secret_may_begin_with_another() -> None:
    assert Mask(["abc", "abcdef"])("abcdef abc abd") == "**** **** abd"
