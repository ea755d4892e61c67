"""Which apt repositories a base comes from: the project's, or the machine's own that serve its suite.

Read here and written anew for an isolated apt (`builder.lock.apt`): only what names a repository and its keys is
taken over, never an option that would turn signatures off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from builder.errors import LockError, ProjectError
from builder.progress import Progress
from builder.project import Source

__all__ = ["Repository", "choose", "host_repositories", "project_repositories", "rendered", "strip_credentials"]

# deb822 options (sources.list(5)) that are about reaching and dating a repository
_KEPT: Final = {
    "by-hash": "By-Hash",
    "check-date": "Check-Date",
    "check-valid-until": "Check-Valid-Until",
    "date-max-future": "Date-Max-Future",
    "inrelease-path": "InRelease-Path",
    "valid-until-max": "Valid-Until-Max",
    "valid-until-min": "Valid-Until-Min",
}
_INSECURE: Final = ("trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure")
_YES: Final = frozenset({"yes", "true", "on", "1", "with", "enable"})
_SUFFIXES: Final = ("", "-updates", "-security", "/updates")
_DEBIAN: Final = frozenset(
    ("oldoldstable", "oldstable", "stable", "testing", "bullseye", "bookworm", "trixie", "forky")
)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/\S+")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:/-]*")


@dataclass(frozen=True, slots=True)
class Repository:
    """One stanza of apt's sources (sources.list(5), deb822 style).

    `signed_by` is what stands behind ``Signed-By``: key files, fingerprints, or an armoured key; empty for the keys the
    machine trusts for everything. `where` names the file it was read from, for messages.
    """

    uris: tuple[str, ...] = field(repr=False)
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    options: tuple[tuple[str, str], ...] = ()
    where: str = ""

    def render(self) -> str:
        """The stanza as apt reads it."""
        lines = [
            "Types: deb",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
            *(f"{key}: {value}" for key, value in self.options),
        ]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"

    def narrowed(self, suites: Sequence[str]) -> Repository:
        """The same archive with other suites."""
        return Repository(self.uris, tuple(suites), self.components, self.signed_by, self.options, self.where)


def strip_credentials(text: str) -> str:
    """`text` without the user and password of any URL in it."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"]*@", r"\1", text)


def choose(
    suite: str, sources: Sequence[Source], *, root: Path, list_file: Path, parts: Path, progress: Progress
) -> tuple[Repository, ...]:
    """The repositories of `suite`: those of the project if it names any, else the machine's own.

    `list_file` and `parts` are the machine's ``sources.list`` and ``sources.list.d``. Raises ProjectError for a source
    that can't be right, LockError when there are none or one of them has its signatures turned off.
    """
    if sources:
        return project_repositories(suite, sources, root)
    host = host_repositories(list_file, parts)
    found = tuple(_serving(suite, host)) or _derived(suite, host, progress)
    for repository in found:
        _refuse_insecure(repository)
    if not found:
        raise LockError(f"no apt source of this machine serves {suite}", hint=_advice(suite))
    if not any(name != suite and "updates" not in name.split("-") for one in found for name in one.suites):
        progress.warn(f"this machine's apt sources lack {suite}-security: the base may miss security fixes")
    return found


def _advice(suite: str) -> str:
    return (
        f"add {suite} to /etc/apt/sources.list.d, or name the archive in the project file:\n"
        "  [[image.sources]]\n"
        '  uri = "https://deb.debian.org/debian"\n'
        '  suites = ["{suite}", "{suite}-updates"]\n'
        '  keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"\n'
        "  [[image.sources]]\n"
        '  uri = "https://deb.debian.org/debian-security"\n'
        '  suites = ["{suite}-security"]\n'
        '  keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"'
    )


def project_repositories(suite: str, sources: Sequence[Source], root: Path) -> tuple[Repository, ...]:
    """`[[image.sources]]` as apt takes them; keyrings are relative to `root` or absolute."""
    return tuple(_project_repository(suite, source, root) for source in sources)


def _project_repository(suite: str, source: Source, root: Path) -> Repository:
    if not _URI.fullmatch(source.uri):
        raise ProjectError(
            f"image.sources: {strip_credentials(source.uri)!r} is not a URI",
            hint="write it as https://deb.debian.org/debian or file:///srv/mirror",
        )
    suites = tuple(name.replace("{suite}", suite) for name in source.suites)
    for word in (*suites, *source.components):
        if not _WORD.fullmatch(word):
            raise ProjectError(f"image.sources: {word!r} is not the name of a suite or component")
    keyring = ""
    if source.keyring is not None:
        path = (root / Path(source.keyring).expanduser()).absolute()
        if not path.is_file():
            raise ProjectError(
                f"image.sources: there is no keyring {source.keyring}",
                hint="`keyring` is a file of OpenPGP keys, relative to the project or absolute",
            )
        keyring = str(path)
    return Repository((source.uri,), suites, source.components, keyring, where="image.sources")


# the machine's own


def host_repositories(list_file: Path, parts: Path) -> tuple[Repository, ...]:
    """Every binary repository that is switched on, as written; `options` still holds the insecure ones."""
    found: list[Repository] = []
    if list_file.is_file():
        found += _from_list(list_file)
    for path in sorted(parts.glob("*")) if parts.is_dir() else ():
        if path.suffix == ".list":
            found += _from_list(path)
        elif path.suffix == ".sources":
            found += _from_deb822(path)
    return tuple(found)


def _from_list(path: Path) -> Iterator[Repository]:
    """One-line style: ``deb [key=value …] uri suite component …``."""
    for line in _read(path).splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match is None or match[2].startswith("cdrom:"):
            continue
        options: dict[str, str] = {}
        for key, value in re.findall(r"([A-Za-z-]+)\s*[+-]?=\s*(\S+)", match[1] or ""):
            options[key.lower()] = value.replace(",", " ") if key.lower() != "signed-by" else value
        yield _repository([match[2]], [match[3]], match[4].split(), options, path)


def _from_deb822(path: Path) -> Iterator[Repository]:
    from debian.deb822 import Deb822

    for stanza in Deb822.iter_paragraphs(_read(path), use_apt_pkg=False):
        fields = {key.lower(): value for key, value in stanza.items()}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip().lower() not in _YES:
            continue
        uris = [uri for uri in fields.get("uris", "").split() if not uri.startswith("cdrom:")]
        if uris:
            yield _repository(
                uris, fields.get("suites", "").split(), fields.get("components", "").split(), fields, path
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LockError(f"cannot read this machine's apt sources: {error.strerror}", file=path) from error


def _repository(
    uris: Sequence[str], suites: Sequence[str], components: Sequence[str], options: Mapping[str, str], path: Path
) -> Repository:
    kept = [(_KEPT[key], options[key].strip()) for key in sorted(options) if key in _KEPT]
    kept += [(key, options[key].strip()) for key in _INSECURE if key in options]
    signed = options.get("signed-by", "")
    # an armoured key spans lines; keep the leading spaces that make them continue the field
    signed = signed if "BEGIN PGP" in signed else " ".join(signed.split())
    return Repository(tuple(uris), tuple(suites), tuple(components), signed, tuple(kept), str(path))


def _serving(suite: str, host: Iterable[Repository]) -> Iterator[Repository]:
    wanted = {suite + suffix for suffix in _SUFFIXES}
    for repository in host:
        mine = [name for name in repository.suites if name in wanted]
        if mine and "main" in repository.components:
            yield repository.narrowed(mine)


def _derived(suite: str, host: Iterable[Repository], progress: Progress) -> tuple[Repository, ...]:
    """The archives that serve another suite of Debian here, asked for `suite`."""
    found: list[Repository] = []
    for repository in host:
        if "main" not in repository.components or not all("debian" in urlsplit(uri).path for uri in repository.uris):
            continue
        mine = [suite + name[len(head) :] for name in repository.suites if (head := _head(name)) in _DEBIAN]
        mine = [name.replace("/updates", "-security") for name in mine if name[len(suite) :] in _SUFFIXES]
        if mine and (narrowed := repository.narrowed(list(dict.fromkeys(mine)))) not in found:
            found.append(narrowed)
    if found:
        hosts = sorted({strip_credentials(uri) for repository in found for uri in repository.uris})
        progress.note(f"this machine has no apt source for {suite}: asking its own archives, {' and '.join(hosts)}")
    return tuple(found)


def _head(name: str) -> str:
    return re.split(r"[-/]", name, maxsplit=1)[0]


def _refuse_insecure(repository: Repository) -> None:
    for key, value in repository.options:
        if key in _INSECURE and value.lower() in _YES:
            raise LockError(
                f"{strip_credentials(repository.uris[0])} is used without checking signatures ({key}={value})",
                hint=f"remove {key!r} and add the archive's key as signed-by, or name [[image.sources]] in the project",
                file=repository.where,
            )


def rendered(repositories: Iterable[Repository]) -> str:
    """All stanzas; whatever would weaken signatures is left out even where it says no."""
    return "\n".join(
        Repository(
            one.uris,
            one.suites,
            one.components,
            one.signed_by,
            tuple(pair for pair in one.options if pair[0] not in _INSECURE),
        ).render()
        for one in repositories
    )
