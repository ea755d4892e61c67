"""What solvers and conda-lock say when there is no lock, as errors of ours: the explanation stays, secrets don't."""

from __future__ import annotations

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
_DETAILS: Final = ("    Command:", "    STDOUT:", "    STDERR:")  # what conda-lock prints behind a solver's message
_CHANNELS: Final = ("CondaHTTPError", "UnavailableInvalidChannel", "CondaSSLError", "ProxyError")


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
    # conda-lock's own channel of virtual packages is in a folder that is gone by now
    lines = [line for line in _clean(output, network).strip().splitlines() if "conda-lock-fake-repodata" not in line]
    about = next((number for number, line in enumerate(lines) if line.startswith("Could not lock")), None)
    if about is not None:
        end = next((number for number, line in enumerate(lines) if line.startswith(_DETAILS)), len(lines))
        said = "\n".join(lines[about + 1 : end][:_LONG]).strip() or lines[-1]
        # conda's own name for it, in the report that conda-lock prints behind the message
        kind = re.search(r'"exception_name": "(\w+)"', "\n".join(lines[end:]))
        if kind is not None and kind[1] in _CHANNELS:
            return _unreachable(said.partition("\n\n")[0], environments, network)
        subdir = lines[about].rpartition(" ")[2]
        return _unsatisfiable(_PLATFORMS.get(subdir, subdir), said, environments[0].file)
    return LockError(f"conda-lock made no lock:\n{chr(10).join(lines[-_LONG:])}")


def _clean(text: str, network: Network) -> str:
    return _URL.sub(lambda match: redacted(match[0]), network.redact(text))


def _line(text: str, word: str) -> int | None:
    return next((number for number, line in enumerate(text.splitlines(), 1) if word in line), None)
