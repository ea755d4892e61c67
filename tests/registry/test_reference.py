"""Names of images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import UsageError
from builder.network import origin
from builder.registry.reference import full_name, parse_reference, parse_repository

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("churn", "docker.io/library/churn"),
        ("ml/churn", "docker.io/ml/churn"),
        ("example.com/churn", "example.com/churn"),
        ("localhost/churn", "localhost/churn"),
        ("host:5000/a/b", "host:5000/a/b"),
    ],
)
def test_full_name(name: str, full: str) -> None:
    assert full_name(name) == full
    assert full_name(full) == full


@pytest.mark.parametrize(
    ("text", "host", "name", "tag", "digest"),
    [
        ("python", "docker.io", "library/python", "latest", None),
        ("python:3.11-slim", "docker.io", "library/python", "3.11-slim", None),
        ("index.docker.io/library/python", "docker.io", "library/python", "latest", None),
        ("docker.io/python", "docker.io", "library/python", "latest", None),
        ("registry.hub.docker.com/a/b:c", "docker.io", "a/b", "c", None),
        ("localhost:5000/a", "localhost:5000", "a", "latest", None),
        ("Example.COM/a", "example.com", "a", "latest", None),
        ("127.0.0.1:5000/a/b__c/d--e:V1.0_x", "127.0.0.1:5000", "a/b__c/d--e", "V1.0_x", None),
        ("[::1]:5000/a:b", "[::1]:5000", "a", "b", None),
        (f"example.com/a@{DIGEST}", "example.com", "a", None, DIGEST),
        (f"example.com/a:b@{DIGEST}", "example.com", "a", "b", DIGEST),
    ],
)
def test_a_reference(text: str, host: str, name: str, tag: str | None, digest: str | None) -> None:
    found = parse_reference(text)
    assert (found.repository.host, found.repository.name, found.tag, found.digest) == (host, name, tag, digest)
    assert found.selector == (digest or tag)
    assert parse_reference(str(found)) == found


def test_the_hub_is_somewhere_else() -> None:
    assert parse_repository("python").endpoint == "registry-1.docker.io"
    assert parse_repository("example.com/a").endpoint == "example.com"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("https://example.com/a", "leave out https://"),
        ("example.com/Churn", "capital"),
        ("example.com/", "HOST/NAME"),
        ("", "HOST/NAME"),
        ("example.com/a b", "HOST/NAME"),
        ("example.com/../a", "HOST/NAME"),
        ("user:secret@example.com/a", "credentials"),
        ("user:secret@example.com/a@sha256:1", "credentials"),
        ("example.com/a:" + "t" * 129, "128"),
        ("example.com/a:", "128"),
        ("example.com/a@sha256:short", "sha256"),
        ("example.com/" + "a" * 300, "HOST/NAME"),
        ("example.com:99999/a", "1 to 65535"),
        ("example.com:0/a:b", "1 to 65535"),
        ("[:::]/a", "an IPv6 address"),
    ],
)
def test_not_a_reference(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert hint in (caught.value.hint or "")
    assert "secret" not in repr(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = parse_reference(text)
    except UsageError:
        return
    assert parse_reference(str(found)) == found


@given(st.from_regex(r"(\[[0-9a-f:]{1,12}\]|[a-z.-]{1,9}\.[a-z]{1,3})(:[0-9]{1,5})?/a", fullmatch=True))
def test_what_is_a_host_here_is_one_in_an_address(text: str) -> None:
    try:
        found = parse_repository(text)
    except UsageError as error:
        assert error.hint
        return
    assert origin(f"https://{found.endpoint}")[1]
