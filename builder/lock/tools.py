"""Running the resolvers and builders that others wrote: what they see of the environment, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from builder.errors import LockError
from builder.lock.indexes import Indexes

__all__ = ["Outcome", "run_tool", "uv_binary", "uv_environment", "uv_version"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: its exit code and what it said, stdout and stderr together."""

    code: int
    text: str


def run_tool(command: Sequence[str], *, environ: Mapping[str, str], folder: Path, timeout: float | None) -> Outcome:
    """Run `command` in `folder`; it and its children end with us, on Ctrl-C as well.

    Raises TimeoutError after `timeout` seconds, OSError when the program can't be started.
    """
    process = subprocess.Popen(
        command,
        env=dict(environ),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o022,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    finally:
        # what a build left running must not outlive it
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return Outcome(process.returncode, output.decode("utf-8", errors="replace"))


def uv_binary() -> str:
    """The uv that was installed with us, never one that happens to be on PATH."""
    import uv

    try:
        return uv.find_uv_bin()
    except FileNotFoundError as error:
        raise LockError("uv is not installed", hint="install lockship again: uv comes with it") from error


def uv_version() -> str:
    """The version of `uv_binary`."""
    from importlib.metadata import version

    return version("uv")


def uv_environment(indexes: Indexes, environ: Mapping[str, str], cache: Path) -> dict[str, str]:
    """The environment for uv: the user's without its uv and pip settings, then `indexes` and nothing else.

    URLs with credentials travel here and not in arguments, which every user of the machine can read.
    """
    hidden = ("UV_", "PIP_", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME")
    found = {key: value for key, value in environ.items() if not key.startswith(hidden)}
    network = indexes.network
    found.update(indexes.passed_on)
    found["UV_CACHE_DIR"] = str(cache)
    found["UV_HTTP_TIMEOUT"] = str(max(1, int(network.timeout)))
    found["UV_HTTP_RETRIES"] = str(network.retries)
    found["UV_NO_PROGRESS"] = "1"
    if indexes.default is None and not indexes.extra:
        found["UV_NO_INDEX"] = "1"
    else:
        # without a default index of its own uv would ask PyPI: the last of the others takes that place
        default = indexes.default or indexes.extra[-1]
        found["UV_DEFAULT_INDEX"] = default
        if indexes.extra:
            found["UV_INDEX"] = " ".join(indexes.extra)
    missing = set(indexes.missing_folders)
    links = [_link(link) for link in indexes.links if link not in missing]
    if links:
        found["UV_FIND_LINKS"] = ",".join(links)
    if network.certificate:
        found["SSL_CERT_DIR" if Path(network.certificate).is_dir() else "SSL_CERT_FILE"] = network.certificate
    if network.client_certificate:
        found["SSL_CLIENT_CERT"] = network.client_certificate
    if network.trusted_hosts:
        found["UV_INSECURE_HOST"] = " ".join(network.trusted_hosts)
    _hand_over_proxies(found, indexes)
    return found


def _hand_over_proxies(found: dict[str, str], indexes: Indexes) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        found.pop(name, None)
        found.pop(name.upper(), None)
    for scheme, proxy in indexes.network.proxies.items():
        url = proxy if "://" in proxy else f"http://{proxy}"
        found[f"{scheme}_proxy"] = found[f"{scheme}_proxy".upper()] = url
    if indexes.network.no_proxy:
        found["no_proxy"] = found["NO_PROXY"] = ",".join(indexes.network.no_proxy)


def _link(link: str) -> str:
    """A find-links entry for a list that commas separate."""
    if "://" in link or link.startswith("file:"):
        return link.replace(",", "%2C")
    return "file://" + quote(link)
