"""Lists that a registry gives in pages: tags, and who refers to a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from builder.content import MEDIA_INDEX, Descriptor, Digest
from builder.errors import StoreError
from builder.registry.answers import Answer
from builder.registry.calls import Call
from builder.registry.endpoint import link_target
from builder.registry.manifests import to_descriptor
from builder.registry.reference import is_tag
from builder.registry.referrers import read_entries
from builder.registry.session import Session
from builder.registry.tokens import Scopes

__all__ = ["list_tags", "referrers_of"]

_PAGE: Final = 8 << 20  # bytes
_PAGES: Final = 1000
_WITHOUT_API: Final = frozenset({400, 404, 405, 406, 501})


def list_tags(session: Session, path: str, scopes: Scopes) -> list[str]:
    """The tags of the repository at `path`, sorted; none when there is no such repository yet."""
    what = f"list the tags of {path.removeprefix('/v2/')}"
    call = Call("GET", f"{path}/tags/list?n=1000", what, scopes, limit=_PAGE)
    found: set[str] = set()
    for answer in _pages(session, call):
        if answer.status == 404:
            break
        if answer.status != 200:
            raise session.failure(call, answer)
        found.update(_read_tags(session, call, answer))
    return sorted(found)


def _read_tags(session: Session, call: Call, answer: Answer) -> list[str]:
    try:
        document = json.loads(answer.data)
        tags = document["tags"] or []
        if all(isinstance(tag, str) for tag in tags):
            return [tag for tag in tags if is_tag(tag)]
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise StoreError(
        f"{session.endpoint.host}: cannot {call.what}: what it sent is no list of tags ({answer.media_type})",
        hint="is that the address of a registry?",
    )


def referrers_of(session: Session, path: str, scopes: Scopes, subject: Digest) -> tuple[Descriptor, ...] | None:
    """Who refers to `subject`; None when the registry keeps no such lists."""
    call = Call(
        "GET",
        f"{path}/referrers/{subject}",
        f"list what refers to {subject}",
        scopes,
        {"Accept": MEDIA_INDEX},
        limit=_PAGE,
    )
    found: list[Descriptor] = []
    for number, answer in enumerate(_pages(session, call)):
        if answer.status in _WITHOUT_API:
            return None
        if answer.status != 200:
            raise session.failure(call, answer)
        entries = read_entries(answer.data)
        if entries is None:
            if number == 0 and answer.media_type != MEDIA_INDEX:
                return None  # a page for people, as some servers show for any address
            raise StoreError(f"{session.endpoint.host}: cannot {call.what}: what it sent is no such list")
        found += map(to_descriptor, entries)
    return tuple(found)


def _pages(session: Session, call: Call) -> Iterator[Answer]:
    """The answers to `call`, and to what they say comes next (RFC 8288)."""
    seen: set[str] = set()
    path = call.path
    while path not in seen:
        if len(seen) >= _PAGES:
            raise StoreError(f"{session.endpoint.host}: cannot {call.what}: the list has no end")
        seen.add(path)
        page = Call(call.method, path, call.what, call.scopes, call.headers, limit=call.limit)
        answer = session.ask(page)
        yield answer
        target = link_target(answer.headers.get("link", ""), answer.url) if answer.status == 200 else None
        if target is None:
            return
        path = target
