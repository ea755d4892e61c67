"""Programs that others wrote and that read and write images: skopeo, umoci, podman, buildah, docker."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.support.registry import write_login
from tests.support.require import need

__all__ = ["Tools"]


class Tools:
    """These programs, with everything that they keep below `folder`; a context manager.

    Each method gives standard output.
    """

    def __init__(self, folder: Path, engine: str = "") -> None:
        self.folder = folder
        self.engine = engine
        folder.mkdir(exist_ok=True)
        self._run = tempfile.TemporaryDirectory(prefix="run-")  # podman wants a short path
        write_login(folder / "docker", "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._run.cleanup()

    @property
    def environ(self) -> dict[str, str]:
        """The environment of somebody who has configured nothing."""
        return {
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": self._run.name,
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "DOCKER_HOST": self.engine,
            "TMPDIR": str(self.folder),
        }

    def run(self, *words: str, stdin: bytes = b"") -> str:
        """A program's standard output; it must succeed."""
        need(words[0], shutil.which(words[0], path=self.environ["PATH"]), f"{words[0]} is not installed")
        done = subprocess.run(words, env=self.environ, input=stdin, capture_output=True, check=False, cwd=self.folder)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr.decode()}{done.stdout.decode()}"
        return done.stdout.decode()

    def skopeo(self, *words: str) -> str:
        """``skopeo``, of registries without TLS."""
        flags = ["--src-tls-verify=false", "--dest-tls-verify=false"] if "copy" in words else ["--tls-verify=false"]
        return self.run("skopeo", "--insecure-policy", *words, *flags)

    def umoci(self, *words: str) -> str:
        """``umoci``; what it unpacks belongs to the image's owners when root runs it."""
        rootless = ["--rootless"] if words[0] == "unpack" and os.getuid() else []
        return self.run("umoci", words[0], *rootless, *words[1:])

    def buildah(self, *words: str) -> str:
        """``buildah``, with plain folders for storage."""
        return self.run("buildah", *self.storage, *words)

    def podman(self, *words: str) -> str:
        """``podman``, with the storage of `buildah`."""
        return self.run("podman", *self.storage, *words)

    def within(self, container: str, script: str) -> str:
        """What a shell script of this machine prints in the root file system of a container of `buildah`."""
        buildah = ("buildah", *self.storage)
        enter = () if os.getuid() == 0 else (*buildah, "unshare")  # where others see files' owners
        whole = f'cd "$({shlex.join(buildah)} mount {container})" && {script}'
        return self.run(*enter, "sh", "-ec", whole)

    def docker(self, *words: str, stdin: bytes = b"") -> str:
        """``docker``, of the engine."""
        return self.run("docker", *words, stdin=stdin)

    @property
    def storage(self) -> tuple[str, ...]:
        """The options of `buildah` and `podman` that lead to it."""
        storage = self.folder / "containers"
        return ("--root", str(storage), "--runroot", self._run.name, "--storage-driver", "vfs")

    def raw(self, reference: str) -> bytes:
        """A manifest or index as the registry serves it to skopeo."""
        return self.skopeo("inspect", "--raw", f"docker://{reference}").encode()

    def inspected(self, image: str) -> Mapping[str, Any]:
        """What the engine says of an image that it has."""
        found: Mapping[str, Any] = json.loads(self.docker("image", "inspect", image))[0]
        return found
