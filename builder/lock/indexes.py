"""Where packages come from: the indexes that the user's pip (or uv) is configured with, and what they hold.

The simple repository API as HTML and JSON (PyPA "Simple repository API", PEP 503, 691, 592, 700), and
``find-links`` folders and pages. Credentials stay inside; every text made here is without them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename

from builder.content import CHUNK, Digest
from builder.errors import StoreError, UsageError, VerificationError
from builder.lock.pipconfig import boolean, pip_settings
from builder.lock.simple import ACCEPT, Link, parse_page
from builder.lock.web import GoneError, Web
from builder.network import Login, Network, origin, proxies_of, redacted, without_login

if TYPE_CHECKING:
    from builder.lock.inputs import FileOptions

__all__ = ["PYPI", "IndexClient", "IndexFile", "Indexes", "from_environment"]

PYPI: Final = "https://pypi.org/simple"


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One file that an index offers. `size` in bytes; `digest` and `size` are None when the index doesn't say.

    `index` names who offers it, without credentials; `url` may be a signed one and is not for people.
    """

    file: str
    url: str = field(repr=False)
    digest: Digest | None
    size: int | None
    yanked: bool
    requires_python: str
    index: str

    @property
    def is_wheel(self) -> bool:
        """Whether this is a wheel; the rest are sdists and older things."""
        return self.file.endswith(".whl")


@dataclass(frozen=True, repr=False)
class Indexes:
    """The indexes in the order in which they are asked: `extra`, then `default`, then `links`.

    The first index that knows a name serves it: a public package can't shadow a private one (uv's ``first-index``).
    """

    default: str | None = PYPI
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    network: Network = field(default_factory=Network)
    passed_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def urls(self) -> tuple[str, ...]:
        """The simple indexes; may hold credentials."""
        return self.extra + (() if self.default is None else (self.default,))

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that is asked, without credentials, for messages."""
        return tuple(redacted(url) for url in self.urls) + tuple(_label(link) for link in self.links)

    def __repr__(self) -> str:
        return f"Indexes({', '.join(self.names) or 'none'})"

    __str__ = __repr__

    def check(self) -> None:
        """Raise UsageError for an index that can't be asked safely, or at all."""
        for url in self.urls:
            if urlsplit(url).scheme not in ("http", "https"):
                raise UsageError(
                    f"the index {redacted(url)} is not an http or https address",
                    hint="for a folder of wheels use find-links",
                )
            self.network.check(url)
        for link in self.links:
            if "://" in link and urlsplit(link).scheme in ("http", "https"):
                self.network.check(link)

    @property
    def missing_folders(self) -> tuple[str, ...]:
        """find-links folders that don't exist; pip passes over them."""
        return tuple(link for link in self.links if (path := _folder(link)) is not None and not path.is_dir())

    def including(self, options: FileOptions) -> Indexes:
        """With what requirement files say: their index replaces the default, the rest is added, as pip has it."""
        default = self.default if options.index is None else options.index
        extra = _unique((*self.extra, *options.extra))
        if options.no_index:
            default, extra = None, ()
        trusted = _unique((*self.network.trusted_hosts, *options.trusted))
        links = _unique((*self.links, *options.links))
        logins = _logins((*extra, *(() if default is None else (default,)), *links))
        network = replace(self.network, trusted_hosts=trusted, logins=logins)
        return replace(self, default=default, extra=extra, links=links, network=network)

    def files(self, name: str) -> tuple[IndexFile, ...]:
        """What all indexes offer for `name`; see `IndexClient.files`."""
        with IndexClient(self) as client:
            return client.files(name)


class IndexClient:
    """Asks indexes, each name once; use as a context manager. Safe to use from several threads."""

    def __init__(self, indexes: Indexes, web: Web | None = None) -> None:
        self.indexes = indexes
        self.web = web if web is not None else Web(indexes.network)
        self._known: dict[str, tuple[IndexFile, ...]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.web.__exit__(*exc)

    def files(self, name: str) -> tuple[IndexFile, ...]:
        """All files of the package `name`, in the order of the indexes; none when nobody knows it.

        Raises StoreError when an index can't be asked.
        """
        name = canonicalize_name(name)
        with self._lock:
            if name in self._known:
                return self._known[name]
        found: list[IndexFile] = []
        for url in self.indexes.urls:
            found += self._page(f"{url.rstrip('/')}/{name}/", name, redacted(url))
        for link in self.indexes.links:
            folder = _folder(link)
            found += self._page(link, name, redacted(link)) if folder is None else _in_folder(folder, name)
        with self._lock:
            self._known[name] = tuple(found)
        return tuple(found)

    def _page(self, url: str, name: str, index: str) -> list[IndexFile]:
        try:
            body, kind, address = self.web.page(url, ACCEPT)
        except GoneError:
            return []
        return [_offered(link, index) for link in _parse(body, kind, address) if _project_of(link.file) == name]


def from_environment(environ: Mapping[str, str], *, home: Path | None = None) -> Indexes:
    """The indexes of pip's configuration files and ``PIP_*`` variables; where those name none, of ``UV_*``.

    Raises UsageError for a configuration that can't be read.
    """
    home = home if home is not None else Path(environ.get("HOME") or Path.home())
    pip = pip_settings(environ, home)
    links = tuple(_absolute(link) for link in pip.get("find-links", "").split())
    default, extra = pip.get("index-url", "").strip() or None, tuple(pip.get("extra-index-url", "").split())
    if "no-index" in pip and boolean(pip["no-index"]):
        extra = ()
        default = None
    else:
        if default is None and not extra:
            default, extra = _uv_indexes(environ)
        default = default or PYPI
    if not links:
        links = tuple(_absolute(link) for link in environ.get("UV_FIND_LINKS", "").replace(",", " ").split())
    proxies, no_proxy = proxies_of(environ, pip.get("proxy"))
    certificate = pip.get("cert") or next(
        (environ[key] for key in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE") if environ.get(key)), None
    )
    network = Network(
        certificate=certificate,
        client_certificate=pip.get("client-cert"),
        proxies=proxies,
        no_proxy=no_proxy,
        trusted_hosts=tuple(pip.get("trusted-host", "").split()),
        timeout=_number(pip, "timeout", 15.0, float),
        retries=int(_number(pip, "retries", 5, int)),
        logins=_logins((*extra, *(() if default is None else (default,)), *links)),
        netrc=_netrc(environ, home),
    )
    passed_on = {key: environ[key] for key in _PASSED_ON if environ.get(key)}
    return Indexes(default=default, extra=_unique(extra), links=_unique(links), network=network, passed_on=passed_on)


# what of uv's own environment still counts: how to ask, never what to resolve
_PASSED_ON: Final = ("UV_INDEX_STRATEGY", "UV_KEYRING_PROVIDER", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "SSL_CERT_DIR")


def _uv_indexes(environ: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """The variables of uv; an index may be written ``name=url`` with its login in ``UV_INDEX_NAME_USERNAME``."""

    def resolve(text: str) -> str:
        name, equals, url = text.partition("=")
        if not equals or "://" in name:
            return text
        key = "UV_INDEX_" + "".join(letter if letter.isalnum() else "_" for letter in name).upper()
        user, password = environ.get(f"{key}_USERNAME", ""), environ.get(f"{key}_PASSWORD", "")
        if not (user or password) or "://" not in url:
            return url
        from urllib.parse import quote

        scheme, _, rest = url.partition("://")
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"

    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or ""
    extra = (*environ.get("UV_INDEX", "").split(), *environ.get("UV_EXTRA_INDEX_URL", "").split())
    return (resolve(default) if default else None), tuple(resolve(url) for url in extra)


def _number(pip: Mapping[str, str], key: str, default: float, kind: Callable[[str], float]) -> float:
    try:
        value = kind(pip.get(key, str(default)))
    except ValueError:
        value = -1
    if value < 0 or (key == "timeout" and value == 0):
        raise UsageError(f"pip's configuration: {key} = {pip[key]!r} is not a number that makes sense")
    return value


def _logins(urls: Iterable[str]) -> tuple[Login, ...]:
    found = []
    for url in urls:
        parts = urlsplit(url)
        if parts.username is not None:
            found.append(Login(origin(url), parts.path, unquote(parts.username), unquote(parts.password or "")))
    return tuple(found)


def _netrc(environ: Mapping[str, str], home: Path) -> dict[str, tuple[str, str]]:
    """Host to login; the file's ``default`` entry is left out: it would go to any host."""
    from netrc import NetrcParseError, netrc

    file = Path(environ["NETRC"]) if environ.get("NETRC") else home / ".netrc"
    try:
        hosts = netrc(str(file)).hosts
    except FileNotFoundError:
        return {}
    except (NetrcParseError, OSError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", None)
        raise UsageError("the netrc file cannot be read", file=file, line=line) from error
    return {host: (login, password or "") for host, (login, _, password) in hosts.items() if host != "default"}


def _absolute(link: str) -> str:
    return link if "://" in link or link.startswith("file:") else str(Path(link).expanduser().absolute())


def _folder(link: str) -> Path | None:
    """The folder that a find-links entry names, or None when it is an address."""
    if link.startswith("file:"):
        return Path(url2pathname(urlsplit(link).path))
    return None if "://" in link else Path(link)


def _label(link: str) -> str:
    return link if _folder(link) is not None else redacted(link)


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _in_folder(folder: Path, name: str) -> list[IndexFile]:
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if _project_of(path.name) == name and path.is_file():
            with path.open("rb") as file:
                digest = Digest.of_chunks(iter(lambda: file.read(CHUNK), b""))
            found.append(
                IndexFile(path.name, path.absolute().as_uri(), digest, path.stat().st_size, False, "", str(folder))
            )
    return found


def _project_of(file: str) -> str | None:
    """The package that a file belongs to, by its name; None for what is neither wheel nor sdist."""
    if file.endswith(".whl"):
        return canonicalize_name(file.partition("-")[0])
    try:
        return parse_sdist_filename(file)[0]
    except InvalidSdistFilename:
        return None


def _parse(body: bytes, kind: str, address: str) -> Sequence[Link]:
    hint = "is this the address of a simple index? it often ends in /simple"
    try:
        return parse_page(body, kind, address)
    except TypeError as error:
        raise StoreError(f"{redacted(address)} answered {error}, not a page of an index", hint=hint) from error
    except (ValueError, LookupError) as error:
        raise StoreError(f"{redacted(address)} answered a page that is not understood", hint=hint) from error


def _offered(link: Link, index: str) -> IndexFile:
    digest = None
    with suppress(VerificationError):
        digest = Digest.from_hex(link.sha256)
    return IndexFile(
        file=link.file,
        url=without_login(link.url),
        digest=digest,
        size=link.size,
        yanked=link.yanked,
        requires_python=link.requires_python,
        index=index,
    )
