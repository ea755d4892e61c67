"""An apt of our own: the machine's transports and keys, nothing of its package state.

Everything lives in a temporary folder: configuration, indexes, an empty dpkg status. The machine's configuration is
asked how to reach repositories (proxies, credentials, certificates, transports); hooks, extra index targets and
whatever would weaken signatures are not taken over. apt's separate download user is not used, as when apt runs for
an ordinary user: what is fetched is checked against signed hashes here and again by the cache.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import unquote

from builder.cache import storage_error
from builder.content import Digest, Platform
from builder.errors import LockError, ResolutionError, VerificationError
from builder.files import unused
from builder.lock.apt_errors import update_error
from builder.lock.pins import Artifact
from builder.lock.sources import Repository, rendered, strip_credentials

__all__ = ["Apt", "Download", "Found"]

# Parts of "Acquire" that are not about transport, or that would accept what nobody signed
_NOT_TAKEN: Final = (
    "acquire::allow",
    "acquire::cdrom",
    "acquire::changelogs",
    "acquire::compressiontypes",
    "acquire::gzipindexes",
    "acquire::indextargets",
    "acquire::languages",
    "acquire::pdiffs",
)
_STREAMS: Final = 4  # how many processes download at once
_POLL: Final = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Found:
    """A deb as the signed index describes it; `uri` is where its repository has it."""

    name: str
    version: str
    file: str
    uri: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Download:
    """One file to fetch: `digest` is checked by apt while it comes in."""

    uri: str
    target: Path
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class _Host:
    """What the machine's own configuration says; `acquire` holds (name, value) pairs."""

    acquire: tuple[tuple[str, str], ...]
    paths: Mapping[str, str]


class Apt:
    """One isolated apt for one platform. A context manager: its folder and its processes go with it."""

    def __init__(self, platform: Platform, environ: Mapping[str, str]) -> None:
        if shutil.which("apt-get", path=environ.get("PATH")) is None:
            raise LockError(
                "a debian base is resolved and fetched with apt, which this machine lacks",
                hint="run on Debian or Ubuntu, or in a container or CI job of one; once made, "
                "the lock serves every machine, and layers that a store holds need no apt",
            )
        self._platform = platform
        self._environ = {key: value for key, value in environ.items() if not key.startswith(("LANG", "LC_"))}
        self._environ["LC_ALL"] = "C.UTF-8"
        self._host = _ask_host(self._environ)
        # a file and a folder, whose keys count for sources that name none
        self.host_keys = tuple(Path(self._host.paths[name]) for name in ("TRUSTED", "TRUSTEDPARTS"))

    def __enter__(self) -> Self:
        chosen = self._environ.get("TMPDIR")
        self.folder = unused(Path(chosen or tempfile.gettempdir()), "lockship-apt-")
        try:
            self.folder.mkdir(mode=0o700)
            for name in (
                "etc/preferences.d", "etc/sources.list.d", "lists/partial", "cache/archives/partial", "keys", "tmp",
            ):  # fmt: skip
                (self.folder / name).mkdir(parents=True)
            (self.folder / "status").touch()
            (self.folder / "apt.conf").write_text(self._configuration())
        except OSError as error:
            raise storage_error(error, Path(chosen or tempfile.gettempdir()), "write") from error
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for _ in range(40):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.05)  # children of apt's that Ctrl-C ended may still be writing

    @property
    def host_sources(self) -> tuple[Path, Path]:
        """The machine's ``sources.list`` and ``sources.list.d``."""
        return Path(self._host.paths["LIST"]), Path(self._host.paths["PARTS"])

    @property
    def architecture(self) -> str:
        """Debian's name of the architecture."""
        return self._platform.debian

    @property
    def version(self) -> str:
        """The version of apt."""
        words = self._run(["apt-get", "--version"]).stdout.split()
        return words[1] if len(words) > 1 else "unknown"

    def _configuration(self) -> str:
        paths = self._host.paths
        ours = {
            "Dir": str(self.folder),
            "Dir::Etc": "etc/",
            "Dir::Etc::main": "none",
            "Dir::Etc::parts": "etc/none.d",
            "Dir::Etc::sourcelist": "sources.list",
            "Dir::Etc::sourceparts": "sources.list.d",
            "Dir::Etc::preferences": "preferences",
            "Dir::Etc::preferencesparts": "preferences.d",
            # credentials and keys are the machine's
            "Dir::Etc::netrc": paths["NETRC"],
            "Dir::Etc::netrcparts": paths["NETRCPARTS"],
            "Dir::Etc::trusted": paths["TRUSTED"],
            "Dir::Etc::trustedparts": paths["TRUSTEDPARTS"],
            "Dir::Bin::methods": paths["METHODS"],
            "Dir::State": ".",
            "Dir::State::lists": "lists/",
            "Dir::State::status": str(self.folder / "status"),
            "Dir::Cache": "cache/",
            "Dir::Log": "log/",
            "APT::Architecture": self._platform.debian,
            "APT::Architectures::": self._platform.debian,
            "APT::Install-Recommends": "false",
            "APT::Install-Suggests": "false",
            "APT::Sandbox::User": "root",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::Languages::": "none",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "Acquire::ForceHash": "SHA256",
        }
        pairs = [*self._host.acquire, *ours.items()]
        return "".join(f'{name} "{value}";\n' for name, value in pairs)

    # sources and pins

    def use(self, repositories: Sequence[Repository]) -> None:
        """Work with these repositories from now on; their key files are copied, so that any path will do."""
        here = []
        for number, one in enumerate(repositories):
            if one.signed_by.startswith("/") and Path(one.signed_by).is_file():
                copy = self.folder / "keys" / f"{number}{Path(one.signed_by).suffix}"
                shutil.copyfile(one.signed_by, copy)
                one = Repository(one.uris, one.suites, one.components, str(copy), one.options, one.where)
            here.append(one)
        (self.folder / "etc/sources.list.d/base.sources").write_text(rendered(here))

    def prefer(self, keep: Iterable[Artifact]) -> None:
        """Choose these versions where the repositories still have them (apt_preferences(5))."""
        self._preferences("keep", [(one.name, f"version {one.version}", 990) for one in keep])

    def update(self, *, only_debian: bool = False) -> None:
        """Fetch the indexes, signatures checked; with `only_debian`, pass over what others serve beside Debian.

        Raises VerificationError when a signature or hash is wrong or missing, StoreError when a repository can't be
        reached, LockError when it doesn't have the suite.
        """
        done = self._run(["apt-get", "update", "-q"])
        # apt goes on, with a warning, when an index could not be had: here that is the end
        if done.returncode or re.search(r"^(?:W: (?:Failed|Some index|GPG|OpenPGP)|E: )", done.stderr, re.MULTILINE):
            raise update_error(done.stderr)
        if only_debian:
            self._pass_over_others()

    def _pass_over_others(self) -> None:
        """Not everybody who serves a suite of that name to this machine makes a Debian base."""
        origins = {
            match[1].strip()
            for path in (self.folder / "lists").glob("*Release")
            if (match := re.search(r"^Origin: *(.*)$", path.read_text(errors="replace"), re.MULTILINE))
        }
        if "Debian" in origins:
            others = sorted(origins - {"Debian", ""})
            self._preferences("origin", [("*", f"release o={name.replace(',', '?')}", -1) for name in others])

    def _preferences(self, name: str, pins: Sequence[tuple[str, str, int]]) -> None:
        text = "\n".join(f"Package: {what}\nPin: {pin}\nPin-Priority: {score}\n" for what, pin, score in pins)
        (self.folder / "etc/preferences.d" / name).write_text(text)

    # questions

    def names(self, prefix: str) -> list[str]:
        """All package names that start so, sorted."""
        return sorted(set(self._run(["apt-cache", "pkgnames", prefix]).stdout.split()))

    def known(self, names: Sequence[str]) -> set[str]:
        """Those of `names` that have a version to install."""
        output = self._run(["apt-cache", "policy", *names]).stdout
        return {
            name
            for name, best in re.findall(r"^(\S+?)(?::\w+)?:\n.*\n  Candidate: (.*)$", output, re.MULTILINE)
            if best != "(none)"
        }

    def closure(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """(name, version) of `names` and all they need on an empty system; raises ResolutionError."""
        done = self._run(["apt-get", "install", "-s", "-q", "--", *names])
        if done.returncode:
            raise ResolutionError(f"these packages don't go together: {_explained(done)}")
        return re.findall(r"^Inst (\S+?)(?::\w+)? \((\S+) ", done.stdout, re.MULTILINE)

    def find(self, specs: Sequence[str]) -> list[Found]:
        """The debs of ``name`` or ``name=version``; raises LockError when the index pins no sha256."""
        if not specs:
            return []
        done = self._run(["apt-get", "download", "--print-uris", "-qq", "--", *specs])
        if done.returncode:
            raise ResolutionError(f"apt cannot say where its packages are: {_explained(done)}")
        return [_found(line) for line in done.stdout.splitlines() if line.startswith("'")]

    def versions(self, names: Sequence[str]) -> list[tuple[str, str, str]]:
        """(name, version, path below the repository) of every version in the indexes."""
        if not names:
            return []
        from debian.deb822 import Deb822

        output = self._run(["apt-cache", "show", "--all-versions", "--", *names]).stdout
        stanzas = Deb822.iter_paragraphs(output, use_apt_pkg=False)
        return [(one["Package"], one["Version"], one["Filename"]) for one in stanzas if "Filename" in one]

    # files

    def download(self, wanted: Sequence[Download], advance: Callable[[int], None]) -> dict[Path, str]:
        """Fetch all of `wanted`, several at once; why each one that isn't there now failed.

        `advance` is told how many more bytes came in. Whatever is under way ends with an exception.
        """
        groups: list[list[Download]] = [[] for _ in range(min(_STREAMS, len(wanted)))]
        for one in sorted(wanted, key=lambda one: (-one.size, one.uri)):
            min(groups, key=lambda group: sum(each.size for each in group)).append(one)
        helper = str(Path(self._host.paths["METHODS"]).parent / "apt-helper")
        running: list[subprocess.Popen[bytes]] = []
        logs = [(self.folder / f"download{number}.log").open("w+b") for number in range(len(groups))]
        try:
            for group, log in zip(groups, logs, strict=True):
                words = [word for one in group for word in (one.uri, str(one.target), f"SHA256:{one.digest.hex}")]
                running.append(self._start([helper, "download-file", *words], subprocess.DEVNULL, log))
            seen = 0
            while any(process.poll() is None for process in running):
                time.sleep(_POLL)
                seen = _count(wanted, seen, advance)
            _count(wanted, seen, advance)
            said = "".join(_text(log) for log in logs)
        finally:
            for process in running:
                _end(process)
            for log in logs:
                log.close()
        return {one.target: _reason(said, one) for one in wanted if not one.target.is_file()}

    # processes

    def _start(self, command: Sequence[str], stdout: int, stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
        environ = {**self._environ, "APT_CONFIG": str(self.folder / "apt.conf"), "TMPDIR": str(self.folder / "tmp")}
        return subprocess.Popen(
            command, env=environ, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        process = self._start(command, subprocess.PIPE, subprocess.PIPE)
        try:
            output, errors = process.communicate()
        finally:
            _end(process)
        return subprocess.CompletedProcess(
            command, process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no child behind; apt's own children end when it does."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _ask_host(environ: Mapping[str, str]) -> _Host:
    dump = _ask(["apt-config", "dump", "--format", "%F %V%n"], environ)
    pairs = [line.split(" ", 1) for line in dump.splitlines() if " " in line]
    acquire = []
    for name, value in pairs:
        plain = unquote(value)
        if not name.lower().startswith("acquire::") or name.lower().startswith(_NOT_TAKEN):
            continue
        # apt's own syntax can't say these
        if plain and not set(plain) & set('"\n\r'):
            acquire.append((unquote(name), plain))
    variables = {
        "LIST": "Dir::Etc::sourcelist/f",
        "PARTS": "Dir::Etc::sourceparts/d",
        "NETRC": "Dir::Etc::netrc/f",
        "NETRCPARTS": "Dir::Etc::netrcparts/d",
        "TRUSTED": "Dir::Etc::trusted/f",
        "TRUSTEDPARTS": "Dir::Etc::trustedparts/d",
        "METHODS": "Dir::Bin::methods/d",
    }
    shell = _ask(["apt-config", "shell", *(word for pair in variables.items() for word in pair)], environ)
    said = dict(word.split("=", 1) for word in shlex.split(shell) if "=" in word)
    # what is switched off is not said: apt 3 has no trusted.gpg any more
    return _Host(
        tuple(acquire), {**dict.fromkeys(variables, "/nonexistent"), "METHODS": "/usr/lib/apt/methods/", **said}
    )


def _ask(command: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise LockError(
            f"this machine's apt configuration can't be read: {strip_credentials(done.stderr.decode(errors='replace'))}"
        )
    return done.stdout.decode(errors="replace")


def _found(line: str) -> Found:
    """A line of ``--print-uris``: ``'URI' name_version_arch.deb SIZE SHA256:HEX``."""
    uri, name, size, digest = shlex.split(line)
    if not digest.startswith("SHA256:"):
        raise VerificationError(f"the index pins {name} by {digest.partition(':')[0] or 'nothing'}, not by sha256")
    package, version, _ = unquote(name).rsplit("_", 2)
    return Found(package, version, unquote(uri.rpartition("/")[2]), uri, Digest.from_hex(digest[7:].lower()), int(size))


def _count(wanted: Sequence[Download], seen: int, advance: Callable[[int], None]) -> int:
    total = 0
    for one in wanted:
        with suppress(OSError):
            total += min(one.target.stat().st_size, one.size)
    if total > seen:
        advance(total - seen)
    return max(total, seen)


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


def _reason(said: str, one: Download) -> str:
    """What apt said about one file: its line and the indented ones after it."""
    shown = re.escape(strip_credentials(one.uri).rpartition("/")[2])
    match = re.search(rf"^E: Failed to fetch \S*{shown}\s+(.*(?:\n .*)*)", said, re.MULTILINE)
    return strip_credentials(match[1] if match else said.strip() or "apt gave no reason")


def _explained(done: subprocess.CompletedProcess[str]) -> str:
    """The complaint without its prefixes, and what it said about dependencies."""
    depends = [
        line.strip() for line in done.stdout.splitlines() if re.match(r"\s+\S.*(?:Depends|Breaks|Conflicts)", line)
    ]
    errors = [line[3:] for line in done.stderr.splitlines() if line.startswith("E: ")]
    return strip_credentials("; ".join(depends or errors) or f"exit status {done.returncode}")
