"""A Docker engine for tests: the one that is there, or a private one that lives as long as the session.

``python -m tests.support.engine COMMAND…`` runs a command with DOCKER_HOST pointing at such an engine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["answers", "can_start", "find", "main", "private_engine", "temporary_engine"]

_SOCKETS = ("unix:///var/run/docker.sock", "unix:///run/user/{uid}/docker.sock")


def answers(host: str) -> bool:
    """Whether an engine is listening at `host` (``unix://…`` or ``tcp://…``)."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.DockerClient(base_url=host, timeout=20)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    except OSError:
        return False
    finally:
        client.close()


def find(environ: Mapping[str, str]) -> str | None:
    """The engine's address as the docker client would find it: DOCKER_HOST, the current context, the usual sockets."""
    candidates = [environ.get("DOCKER_HOST"), _context_host(environ)]
    candidates += [socket.format(uid=os.getuid()) for socket in _SOCKETS]
    for host in candidates:
        if host and (not host.startswith("unix://") or Path(host.removeprefix("unix://")).exists()) and answers(host):
            return host
    return None


def _context_host(environ: Mapping[str, str]) -> str | None:
    """The endpoint of the context that is current in the docker client's configuration."""
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")
    with suppress(OSError, ValueError, KeyError, TypeError):
        name = environ.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_bytes())["currentContext"]
        for meta in folder.glob("contexts/meta/*/meta.json"):
            document = json.loads(meta.read_bytes())
            if document["Name"] == name:
                return str(document["Endpoints"]["docker"]["Host"])
    return None


def can_start(environ: Mapping[str, str]) -> str | None:
    """Why no private engine can be started here, or None when one can."""
    if os.getuid() != 0:
        return "only root can start a Docker engine"
    if not _which("dockerd", environ):
        return "dockerd is not installed"
    if not _which("iptables", environ):
        return "iptables is not installed, dockerd needs it"
    return None


def _which(name: str, environ: Mapping[str, str]) -> str | None:
    # a shell that was not a login shell may lack the sbin folders
    return shutil.which(name, path=environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


@contextmanager
def temporary_engine(environ: Mapping[str, str]) -> Iterator[str]:
    """A private engine in a temporary folder with a short path; ask `can_start` first."""
    # not below pytest's own folder: the path of a socket may have 107 bytes
    with (
        tempfile.TemporaryDirectory(prefix="lockship-", ignore_cleanup_errors=True) as folder,
        private_engine(Path(folder) / "engine", environ) as host,
    ):
        yield host


@contextmanager
def private_engine(folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Start dockerd with everything it keeps in `folder`, give its address, and stop it at the end.

    Where another engine owns the bridge ``docker0`` already, this one lives in a network namespace of its own: told to
    use no bridge, dockerd would remove the other's. Its containers then reach no network outside. Raises RuntimeError
    with the end of dockerd's log when it does not come up.
    """
    program = _which("dockerd", environ)
    assert program is not None, "ask can_start first"
    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / "docker.sock"
    host = f"unix://{socket}"
    argv = [program, "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "-H", host]
    argv += ["-p", str(folder / "pid"), "--config-file", str(_empty_config(folder))]
    if Path("/sys/class/net/docker0").exists():
        argv = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *argv]
    log = folder / "dockerd.log"
    sbin = environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    with log.open("wb") as output:
        engine = subprocess.Popen(
            argv, stdout=output, stderr=output, env={**environ, "PATH": sbin}, start_new_session=True
        )
        try:
            _await(engine, socket, host, log)
            yield host
        finally:
            engine.terminate()
            try:
                engine.wait(30)
            except subprocess.TimeoutExpired:
                engine.kill()
                engine.wait()
    _remove(folder)


def _empty_config(folder: Path) -> Path:
    """The machine's own daemon.json must not change what tests see."""
    path = folder / "daemon.json"
    path.write_text("{}\n")
    return path


def _await(engine: subprocess.Popen[bytes], socket: Path, host: str, log: Path) -> None:
    for _ in range(600):
        if engine.poll() is not None:
            break
        if socket.exists() and answers(host):
            return
        time.sleep(0.1)
    tail = log.read_text(errors="replace").splitlines()[-15:]
    raise RuntimeError("dockerd did not come up:\n" + "\n".join(tail))


def _remove(folder: Path) -> None:
    """Mounts that dockerd left behind, then the files."""
    with suppress(OSError):
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def main(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run `command` with an engine; its exit status, or 1 when no engine can be had."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found = find(environ)
    if found is not None:
        return subprocess.run(command, env={**environ, "DOCKER_HOST": found}, check=False).returncode
    if (obstacle := can_start(environ)) is not None:
        sys.stderr.write(f"no Docker engine answers, and {obstacle}\n")
        return 1
    with temporary_engine(environ) as host:
        return subprocess.run(command, env={**environ, "DOCKER_HOST": host}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
