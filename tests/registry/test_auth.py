from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import StoreError
from builder.registry.auth import (
    Challenge,
    basic_authorization,
    choose_challenge,
    parse_challenges,
    read_token,
    repository_scope,
    token_request,
    widen,
)
from builder.registry.credentials import Credential

REALM = "https://auth.example.com/token"
URL = REALM


def bearer(**parameters: str) -> Challenge:
    return Challenge("bearer", {"realm": REALM, **parameters})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            ['Bearer realm="https://a/token",service="r",scope="repository:a/b:pull,push"'],
            [("bearer", {"realm": "https://a/token", "service": "r", "scope": "repository:a/b:pull,push"})],
        ),
        (['BEARER Realm = "x" , SERVICE=y'], [("bearer", {"realm": "x", "service": "y"})]),
        (['Basic realm="a, b"', 'Bearer realm="c"'], [("basic", {"realm": "a, b"}), ("bearer", {"realm": "c"})]),
        (
            ['Basic realm="a", Bearer realm="c", x="d"'],
            [("basic", {"realm": "a"}), ("bearer", {"realm": "c", "x": "d"})],
        ),
        (["Negotiate, Basic"], [("negotiate", {}), ("basic", {})]),
        (["Negotiate YWJj=, Bearer realm=b"], [("negotiate", {}), ("bearer", {"realm": "b"})]),
        (['Bearer realm="say \\"hi\\" \\\\"'], [("bearer", {"realm": 'say "hi" \\'})]),
        (
            ["Bearer realm=https://a/token?x=1,service=s"],
            [("bearer", {"realm": "https://a/token?x=1", "service": "s"})],
        ),
        (['Bearer realm="first",realm="second"'], [("bearer", {"realm": "first"})]),
        (["", ", ,", '"'], []),
    ],
)
def test_challenges(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, dict(one.parameters)) for one in parse_challenges(headers)] == expected


@given(st.lists(st.text(max_size=200), max_size=4))
def test_no_header_is_too_odd(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower()


_words = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,9}", fullmatch=True)
_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


@given(st.lists(st.tuples(_words, st.dictionaries(_words.map(str.lower), _values, min_size=1, max_size=4)), max_size=4))
def test_what_is_written_as_the_rfc_has_it_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(
        f"{scheme} " + ", ".join(f"{key}={quoted(value)}" for key, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert [(one.scheme, dict(one.parameters)) for one in parse_challenges([text])] == [
        (scheme.lower(), parameters) for scheme, parameters in challenges
    ]


def test_tokens_are_preferred_to_passwords() -> None:
    basic = Challenge("basic")
    assert choose_challenge([basic, bearer()]) == bearer()
    assert choose_challenge([Challenge("bearer"), basic]) == basic  # a bearer without a realm
    assert choose_challenge([Challenge("negotiate")]) is None


def test_a_challenge_widens_only_what_we_asked_for() -> None:
    own = (repository_scope("a/b", "pull"), repository_scope("base", "pull"))
    assert widen(own, "repository:a/b:pull,delete repository:secret:pull registry:catalog:*") == (
        "repository:a/b:pull,delete",
        "repository:base:pull",
    )
    assert widen(own, "") == own
    assert widen(own, "nonsense :: repository:a/b:") == own


def test_asking_with_a_password() -> None:
    scopes = (repository_scope("a", "pull", "push"), repository_scope("b", "pull"))
    asked = token_request(bearer(service="r, s"), scopes, Credential("ada", "pa:ss+wörd"))
    assert asked.method == "GET"
    assert parse_qs(urlsplit(asked.url).query) == {"service": ["r, s"], "scope": list(scopes)}
    kind, _, value = asked.headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(value).decode()) == ("Basic", "ada:pa:ss+wörd")
    assert "Basic" not in repr(asked)


def test_asking_as_nobody() -> None:
    asked = token_request(Challenge("bearer", {"realm": f"{REALM}?account=x#y"}), ("repository:a:pull",), None)
    assert asked.url == f"{REALM}?account=x&scope=repository:a:pull"
    assert "Authorization" not in asked.headers


def test_asking_with_an_identity_token() -> None:
    credential = Credential(username="<token>", identity_token="re/fresh", source="docker")
    asked = token_request(bearer(service="s"), ("repository:a:pull", "repository:b:pull"), credential)
    assert (asked.method, asked.url) == ("POST", REALM)
    assert asked.form is not None
    assert parse_qs(asked.form.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["lockship"],
        "service": ["s"],
        "scope": ["repository:a:pull repository:b:pull"],
        "refresh_token": ["re/fresh"],
    }
    assert "fresh" not in repr(asked)


def token(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"token": "t"}, 60),
        ({"access_token": "t", "expires_in": 300}, 300),
        ({"token": "t", "expires_in": "300"}, 300),
        ({"token": "t", "expires_in": -5}, 60),
        ({"token": "t", "expires_in": True}, 60),
        ({"token": "t", "expires_in": 1e400}, 60),
        ({"token": "t", "expires_in": 300, "issued_at": "2026-01-01T11:59:00.123456789Z"}, 240.123456),
        ({"token": "t", "expires_in": 300, "issued_at": "yesterday"}, 300),
        ({"token": "t", "expires_in": 300, "issued_at": "2026-01-01T11:59:00"}, 300),
        ({"token": "t", "expires_in": 300, "issued_at": "2027-01-01T11:59:00Z"}, 300),
    ],
)
def test_how_long_a_token_is_good(fields: dict[str, object], seconds: float) -> None:
    found = read_token(URL, token(**fields), "Thu, 01 Jan 2026 12:00:00 GMT", 1000)
    assert found.value == "t"
    assert found.expires == pytest.approx(1000 + seconds - min(30, seconds / 4), abs=0.01)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>login</html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not JSON"),
        (b"{}", "has no token"),
        (token(token=""), "has no token"),
        (token(token=7), "has no token"),
        (token(token="a\r\nX-Evil: b"), "cannot be one"),
        (token(token="a" * 100_000), "cannot be one"),
    ],
)
def test_what_is_no_token(data: bytes, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        read_token("https://user:secret@auth.example.com/token?x=y", data, None, 0)
    assert caught.value.hint is not None
    assert "auth.example.com/token" in caught.value.message
    assert "secret" not in caught.value.message and "x=y" not in caught.value.message


def test_basic() -> None:
    assert basic_authorization("a", "b") == "Basic YTpi"
