"""What solvers and conda-lock say when there is no lock, as errors of ours: the explanation stays, secrets don't."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from builder.errors import LockError, LockshipError, ResolutionError, StoreError
from builder.lock.conda_file import SUBDIRS
from builder.lock.conda_input import Environment, channel_name, channel_url
from builder.network import Network, redacted

__all__ = ["explained"]

_PLATFORMS: Final = {subdir: str(platform) for platform, subdir in SUBDIRS.items()}
_URL: Final = re.compile(r"https?://[^\s)'\",;]+")
# rattler's words, and conda's
_MISSING: Final = re.compile(
    r"No candidates were found for ([^\n.]+)|packages are not available from current channels:\s+- ([^\n]+)"
)
_LONG: Final = 40  # lines
_PART: Final = re.compile(r"    (Command|STDOUT|STDERR):.*")  # what conda-lock prints behind a solver's message
# conda's names, of what there can be no lock for and of channels that can't be read
_UNSATISFIABLE: Final = (
    "UnsatisfiableError", "PackagesNotFoundError", "ResolvePackageNotFound", "SpecsConfigurationConflictError",
)  # fmt: skip
_CHANNELS: Final = ("CondaHTTPError", "UnavailableInvalidChannel", "CondaSSLError", "ProxyError")
# the words of micromamba, which names no kinds
_NETWORK: Final = re.compile(r"download error|could not resolve host|failed to download|HTTP [45]\d\d", re.IGNORECASE)
_CONFLICT: Final = re.compile(
    r"conflict|nothing provides|could not solve|not available|does not exist|incompatible", re.I
)


def explained(
    report: Mapping[str, str] | None, output: str, environments: Sequence[Environment], network: Network
) -> LockshipError:
    """`report` is our own solver's, or None; `output` is what conda-lock said."""
    if report is None:
        return _of_output(output, environments, network)
    platform = _PLATFORMS.get(report["platform"], report["platform"])
    message = _clean(report["message"], network)
    file = environments[0].file
    if report["kind"] == "SolverError":
        return _unsatisfiable(platform, message, file)
    if report["kind"] in ("GatewayError", "FetchRepoDataError", "ReqwestError") or "http" in message:
        return _unreachable(message, environments, network)
    if "MatchSpec" in report["kind"]:
        return ResolutionError(f"a dependency is not understood: {message}", file=file)
    return LockError(f"{platform}: {report['kind']}: {message}", file=file)


def _unsatisfiable(platform: str, message: str, file: str) -> ResolutionError:
    text = message.removeprefix("Cannot solve the request because of: ").strip()
    if missing := _MISSING.search(text):
        wanted = (missing[1] or missing[2]).removesuffix("*").strip()
        hint = (
            f"no channel has {wanted} for {platform}: is it built for that platform, and named as there? "
            "leave the platform out, or ask for a version that is there for all"
        )
    elif "__" in text:
        hint = "what begins with __ is what the machine has: the base's glibc, or [python] virtual-packages"
    else:
        hint = "loosen one of the versions in the environment file"
    return ResolutionError(f"no set of packages fits for {platform}:\n{text}", file=file, hint=hint)


def _unreachable(message: str, environments: Sequence[Environment], network: Network) -> LockshipError:
    channels = dict.fromkeys(channel for one in environments for channel in one.channels)
    blamed = next((one for one in channels if channel_url(one) in message or one in message), None)
    name = channel_name(channel_url(blamed)) if blamed else "a channel"
    where = f" at {redacted(channel_url(blamed))}" if blamed else ""
    if re.search(r"\b(404|410)\b|not found|NotFound", message, re.IGNORECASE):
        line = _line(environments[0].text, blamed) if blamed else None
        return ResolutionError(
            f"there is no channel {name}{where}", file=environments[0].file, line=line,
            hint="check its name, and whether it has packages for the platforms",
        )  # fmt: skip
    if re.search(r"\b(401|403)\b", message):
        return StoreError(
            f"the channel {name}{where} refuses to be read",
            hint="user and password belong into ~/.netrc: machine HOST login USER password …",
        )
    return StoreError(f"the channel {name}{where} can't be asked: {message}", hint="check the network, then run again")


def _of_output(output: str, environments: Sequence[Environment], network: Network) -> LockshipError:
    """Another solver's words, or conda-lock's own."""
    lines = _clean(output, network).strip().splitlines()
    about = next((number for number, line in enumerate(lines) if line.startswith("Could not lock")), None)
    if about is None:
        return LockError(f"conda-lock made no lock:\n{_shown(lines[-_LONG:])}")
    subdir = lines[about].rpartition(" ")[2]
    platform = _PLATFORMS.get(subdir, subdir)
    parts = _parted(lines[about + 1 :])
    report = _report(parts["STDOUT"])
    said = _words(parts, report)
    kind = str(report.get("exception_name", ""))
    if kind in _CHANNELS or (not kind and _NETWORK.search(said)):
        return _unreachable(said.partition("\n\n")[0], environments, network)
    if kind in _UNSATISFIABLE or (not kind and _CONFLICT.search(said)):
        return _unsatisfiable(platform, said, environments[0].file)
    return LockError(f"the solver failed for {platform}:\n{said}", file=environments[0].file)


def _parted(lines: Sequence[str]) -> dict[str, list[str]]:
    """What conda-lock prints of a solver that failed: its message, and behind the names of the streams all of it."""
    parts: dict[str, list[str]] = {"": [], "STDOUT": [], "STDERR": []}
    part = ""
    for line in lines:
        if match := _PART.fullmatch(line):
            part = match[1]
        elif part in parts:
            parts[part].append(line)
    return parts


def _report(lines: Sequence[str]) -> dict[str, object]:
    """The JSON of ``--json``; empty when there is none."""
    try:
        found = json.loads("\n".join(lines))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _words(parts: Mapping[str, list[str]], report: Mapping[str, object]) -> str:
    """What is for people: the message, micromamba's list of problems with its tree, or what there is."""
    problems = report.get("solver_problems")
    if isinstance(problems, list) and problems:
        tree = [line for line in parts["STDERR"] if line.startswith((" ", "├", "└", "│", "The following"))]
        return _shown([*(str(one) for one in problems), *tree])
    if isinstance(message := report.get("message"), str) and message.strip():
        return _shown(message.splitlines())
    said = parts[""] if not report else []
    return _shown(parts["STDERR"] if not _shown(said) else said) or _shown(parts["STDOUT"]) or "it says nothing"


def _shown(lines: Sequence[str]) -> str:
    """`lines` but for those about conda-lock's own channel of virtual packages, which is gone by now."""
    return "\n".join([line for line in lines if "conda-lock-fake-repodata" not in line][:_LONG]).strip()


def _clean(text: str, network: Network) -> str:
    return _URL.sub(lambda match: redacted(match[0]), network.redact(text))


def _line(text: str, word: str) -> int | None:
    return next((number for number, line in enumerate(text.splitlines(), 1) if word in line), None)
