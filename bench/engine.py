"""``docker build`` with pip and with uv, as teams write it, on the base that lockship assembles.

Equal conditions: both start from lockship's own base with the virtual environment's skeleton, loaded into the engine
beforehand; where lockship compiles no byte code, the base's standard library has none either. pip and uv are not part
of what is measured: they sit in an image of their own and are mounted while they are needed (as uv's documentation
recommends), so the result doesn't carry them. Downloads are cached in BuildKit cache mounts. The package index's
address reaches them as a secret.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import CommandError, Cost, run
from bench.sides import Side

__all__ = ["Engine", "base_image", "dockerfile", "find_client"]

_TOOLS = "lockship-bench-tools:1"
# In every command, so that our entries in the build cache can be told from other people's.
_MARK = "/lockship-bench"
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def base_image(bytecode: bool) -> str:
    """The base's name in the engine."""
    return f"lockship-bench-base-{'bytecode' if bytecode else 'plain'}:1"


def dockerfile(side: Side, cache: str, files: Sequence[str], *, offline: bool) -> str:
    """The Dockerfile for `side`, with the cache mount called `cache`; `files` are the project's own."""
    lock = f"{_MARK}/requirements.lock"
    if side.tool == "uv":
        folder = "/root/.cache/uv"
        command = [f"{_MARK}/uv", "pip", "sync", "--require-hashes", "--python", "/opt/venv/bin/python"]
        command += ["--link-mode", "copy"]  # a cache mount is another file system
        command += ["--compile-bytecode"] if side.bytecode else []
        command += ["--offline"] if offline else []
        settings = {"SSL_CERT_FILE": f"{_MARK}/certificates.pem", "UV_CONFIG_FILE": "/run/secrets/uv.toml"}
        command += [lock]
    else:
        folder = "/root/.cache/pip"
        command = ["/opt/venv/bin/python", "-m", "pip", "install", "--require-hashes", "--quiet"]
        command += ["--disable-pip-version-check", "--no-input", "--root-user-action", "ignore"]
        command += [] if side.bytecode else ["--no-compile"]
        command += ["-r", lock]
        settings = {"PIP_CERT": f"{_MARK}/certificates.pem", "PIP_CONFIG_FILE": "/run/secrets/pip.conf"}
        settings |= {"PYTHONPATH": f"{_MARK}/pip"}
    if not side.bytecode:  # nor may an interpreter that only looks around leave any
        settings |= {"PYTHONDONTWRITEBYTECODE": "1"}
    mounts = [
        f"type=bind,from={_TOOLS},source={_MARK},target={_MARK}",
        f"type=bind,source=requirements.lock,target={lock}",
        f"type=cache,id={cache},target={folder}",
        "type=secret,id=pip.conf",
        "type=secret,id=uv.toml",
    ]
    lines = [
        f"FROM {base_image(side.bytecode)}",
        "USER 0",
        "WORKDIR /app",
        *(f"ARG {name}={value}" for name, value in settings.items()),
        f"RUN {' '.join(f'--mount={mount}' for mount in mounts)} {json.dumps(command)}",
        *(f"COPY {name} /app/{name}" for name in files),
        'ENV PATH="/opt/venv/bin:/usr/bin"',
        "USER 65532",
        'CMD ["python", "-m", "score"]',
    ]
    return "\n".join(lines) + "\n"


def find_client(environ: Mapping[str, str]) -> str:
    """A docker client that can do BuildKit; a newer one may lack the plugin it needs. Raises CommandError."""
    environ = {**environ, "DOCKER_BUILDKIT": "1"}
    folders = [*environ.get("PATH", "").split(os.pathsep), "/usr/bin"]
    for folder in folders:
        program = Path(folder or ".") / "docker"
        if os.access(program, os.X_OK):
            argv = [str(program), "build", "--quiet", "-"]
            done = subprocess.run(
                argv, input=b"FROM scratch\nWORKDIR /\n", env=environ, capture_output=True, check=False
            )
            if done.returncode == 0:
                with suppress(CommandError):
                    run([str(program), "image", "rm", done.stdout.decode().strip()], environ, settle=False)
                return str(program)
    raise CommandError("no docker client here can build with BuildKit (install the buildx plugin, or docker.io)")


@dataclass
class Engine:
    """An engine at `host` and a folder for build contexts. What it makes is removed by `close`."""

    client: str
    host: str
    folder: Path
    environ: Mapping[str, str]
    _images: set[str] = field(default_factory=set)
    _bases: set[str] = field(default_factory=set)
    _api: Any = None

    def __post_init__(self) -> None:
        import docker

        self._api = docker.APIClient(base_url=self.host, timeout=600)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environ = {**self.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}

    @property
    def version(self) -> str:
        """The engine's."""
        return str(self._api.version()["Version"])

    def prepare(self, pip_conf: str, uv_toml: str) -> str:
        """The image that pip and uv sit in; what it holds, for the report. The bases must have been adopted."""
        import uv

        self._bases = set(self._images)

        context = self.folder / "tools"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        shutil.copy2(uv.find_uv_bin(), context / "uv")
        argv = [str(context / "uv"), "pip", "install", "--quiet", "--python", sys.executable]
        run([*argv, "--target", str(context / "pip"), "pip"], self.environ, settle=False)
        bundle = os.environ.get("SSL_CERT_FILE") or next((name for name in _BUNDLES if Path(name).is_file()), None)
        (context / "certificates.pem").write_bytes(Path(bundle).read_bytes() if bundle else b"")
        # pip of an ordinary base image has its byte code too
        (context / "Dockerfile").write_text(
            f"FROM {base_image(True)}\nUSER 0\nCOPY . {_MARK}/\n"
            f'RUN ["python", "-m", "compileall", "-q", "{_MARK}/pip"]\n'
        )
        self._build(context, _TOOLS, [])
        for name, text in (("pip.conf", pip_conf), ("uv.toml", uv_toml)):
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_text(text)
        pip = next((context / "pip").glob("pip-*.dist-info")).name.removesuffix(".dist-info").replace("-", " ")
        version = run([str(context / "uv"), "--version"], self.environ, settle=False).stdout.split()[1]
        return f"uv {version}, {pip}"

    def build(self, context: Path, tag: str) -> Cost:
        """``docker build`` of a folder."""
        secrets = [f"id={name},src={self.folder / name}" for name in ("pip.conf", "uv.toml")]
        return self._build(context, tag, [word for secret in secrets for word in ("--secret", secret)])

    def build_as(self, context: Path, tag: str, *options: str) -> Cost:
        """``docker build`` under a name that nobody had, with more options."""
        secrets = [f"id={name},src={self.folder / name}" for name in ("pip.conf", "uv.toml")]
        return self._build(context, tag, [*(word for secret in secrets for word in ("--secret", secret)), *options])

    def call(self, *words: str) -> Cost:
        """Another command of the docker client."""
        return run([self.client, *words], self.environ)

    def tag(self, image: str, name: str) -> None:
        """Another name for an image."""
        self._images.add(name)
        self._api.tag(image, *name.rsplit(":", 1))

    def _build(self, context: Path, tag: str, options: Sequence[str]) -> Cost:
        proxies = [word for name in _PROXIES if name in self.environ for word in ("--build-arg", name)]
        argv = [self.client, "build", "--progress", "plain", "--network", "host", "--tag", tag, *proxies, *options]
        self._images.add(tag)
        before = self._id(tag)
        cost = run([*argv, str(context)], self.environ)
        if before not in (None, self._id(tag)):
            self.remove(str(before))  # it has lost its name to the new one
        return cost

    def _id(self, tag: str) -> str | None:
        import docker.errors

        try:
            return str(self.inspect(tag)["Id"])
        except docker.errors.ImageNotFound:
            return None

    def python(self, image: str, program: str) -> str:
        """What a program prints in a container of `image`, run by a user who can't write byte code."""
        argv = [
            self.client,
            "run",
            "--rm",
            "--network",
            "none",
            "--user",
            "65532",
            "--entrypoint",
            "/opt/venv/bin/python",
        ]
        return run([*argv, image, "-c", program], self.environ, settle=False).stdout

    def adopt(self, tag: str) -> None:
        """Remove this image too when all is done, even if its name has gone to another by then."""
        self._images.update((tag, str(self._id(tag))))

    def forget_adopted(self) -> None:
        """Remove adopted images, bases excepted: as if they had never been loaded."""
        for name in [one for one in self._images if one.startswith("sha256:") and one not in self._bases]:
            self.remove(name)
            self._images.discard(name)

    def inspect(self, tag: str) -> dict[str, Any]:
        """What the engine says of an image."""
        return dict(self._api.inspect_image(tag))

    def save(self, tag: str) -> Any:
        """``docker save``: a tar in chunks."""
        return self._api.get_image(tag, chunk_size=1 << 20)

    def remove(self, tag: str) -> None:
        """Drop an image, if it is there."""
        import docker.errors

        with suppress(docker.errors.APIError):
            self._api.remove_image(tag, force=True)

    def prune(self, *, caches: str | None = None) -> None:
        """Drop our build results from the build cache, and our cache mounts whose name holds `caches`."""
        import docker.errors

        for one in _ours(self._api.df().get("BuildCache") or []):
            if one["Type"] != "exec.cachemount" or (caches is not None and caches in one["Description"]):
                with suppress(docker.errors.APIError):
                    self._api.prune_builds(filters={"id": [one["ID"]]}, all=True)

    def close(self) -> None:
        """Remove what was made."""
        for tag in sorted(self._images):
            self.remove(tag)
        self.prune(caches="")
        for name in ("pip.conf", "uv.toml"):
            (self.folder / name).unlink(missing_ok=True)
        self._api.close()


def _ours(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What our commands left in the build cache and what was built on that; children first, parents can't go before."""
    parents = {one["ID"]: one.get("Parents") or [one.get("Parent")] for one in records}
    marked = {one["ID"] for one in records if _MARK in (one.get("Description") or "")}
    depth: dict[str, int] = {}

    def measure(name: str) -> int:
        """How far below a marked record this one is; 0 when it isn't."""
        if name not in depth:
            depth[name] = 0
            above = max((measure(parent) for parent in parents[name] if parent in parents), default=0)
            depth[name] = above + 1 if above or name in marked else 0
        return depth[name]

    found = [one for one in records if measure(one["ID"])]
    return sorted(found, key=lambda one: depth[one["ID"]], reverse=True)
