"""One page of the simple repository API, HTML or JSON, as links (PyPA "Simple repository API"; PEP 503, 592, 691, 700).

Written for speed: popular packages list thousands of files, and a lock reads dozens of such pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import unquote, urljoin

from builder.errors import StoreError

__all__ = ["ACCEPT", "Link", "parse_page"]

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
ACCEPT: Final = f"{JSON}, {HTML};q=0.2, text/html;q=0.1"


@dataclass(frozen=True, slots=True)
class Link:
    """One file on a page. `sha256` is empty and `size` None when the page doesn't say."""

    file: str
    url: str = field(repr=False)
    sha256: str = ""
    size: int | None = None
    yanked: bool = False
    requires_python: str = ""


def parse_page(body: bytes, content_type: str, address: str) -> list[Link]:
    """The files that the page at `address` lists.

    Raises ValueError for a damaged page, StoreError for a version of the API that we don't know, TypeError for a
    document that isn't a page at all.
    """
    media, _, parameters = content_type.partition(";")
    match media.strip().lower():
        case "application/vnd.pypi.simple.v1+json":
            return _from_json(json.loads(body), address)
        case "application/vnd.pypi.simple.v1+html" | "text/html":
            charset = parameters.partition("charset=")[2].strip(" \"'") or "utf-8"
            return _from_html(body.decode(charset, errors="replace"), address)
    raise TypeError(media or "no media type")


def _from_json(document: Any, address: str) -> list[Link]:
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list):
        raise ValueError("no list of files")
    meta = document.get("meta")
    _check_version(str(meta.get("api-version", "1.0")) if isinstance(meta, dict) else "1.0")
    return [_from_entry(entry, address) for entry in files]


def _from_entry(entry: Any, address: str) -> Link:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("filename", "url")):
        raise ValueError("an entry without filename or url")
    hashes, size = entry.get("hashes"), entry.get("size")
    return Link(
        file=entry["filename"],
        url=urljoin(address, entry["url"]),
        sha256=str(hashes.get("sha256", "")).lower() if isinstance(hashes, dict) else "",
        size=size if isinstance(size, int) else None,
        yanked=bool(entry.get("yanked")) or entry.get("yanked") == "",
        requires_python=str(entry.get("requires-python") or ""),
    )


def _from_html(text: str, address: str) -> list[Link]:
    page = _Page()
    page.feed(text)
    page.close()
    _check_version(page.version)
    base = urljoin(address, page.base)
    return [link for attributes in page.anchors if (link := _from_anchor(attributes, base)) is not None]


def _from_anchor(attributes: Mapping[str, str | None], base: str) -> Link | None:
    href, _, fragment = (attributes.get("href") or "").strip().partition("#")
    url = href if href.startswith(("https://", "http://")) else urljoin(base, href)
    file = unquote(url.partition("?")[0].rpartition("/")[2])
    if not file:
        return None
    algorithm, _, value = fragment.partition("=")
    return Link(
        file=file,
        url=url,
        sha256=value.partition("&")[0].lower() if algorithm == "sha256" else "",
        yanked="data-yanked" in attributes,
        requires_python=attributes.get("data-requires-python") or "",
    )


def _check_version(version: str) -> None:
    """A higher major version must not be read (PEP 629)."""
    if version.partition(".")[0] != "1":
        raise StoreError(f"the index speaks version {version[:20]} of the simple API; lockship knows version 1")


class _Page(HTMLParser):
    """Collects anchors, the base address and the API's version."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors: list[dict[str, str | None]] = []
        self.base = ""
        self.version = "1.0"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.anchors.append(dict(attrs))
        elif tag == "base" and not self.base:
            self.base = dict(attrs).get("href") or ""
        elif tag == "meta":
            attributes = dict(attrs)
            if attributes.get("name") == "pypi:repository-version":
                self.version = attributes.get("content") or "1.0"
