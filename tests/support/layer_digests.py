"""A program: the digest of one layer of every kind, made from the artifacts in a folder. Run under many conditions.

Imports only what makes layers, so that any CPython with `deflate` and `packaging` beside it can run it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from pathlib import Path

from builder.content import Digest
from builder.layers import conda, files, tar, venv, wheel
from builder.layers.encode import encode
from builder.layers.recipe import Part


class Sink:
    """Keeps the digest."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.hash.update(data)


def digest(entries: list[tar.Entry]) -> str:
    sink = Sink()
    encode(tar.arrange(entries), sink)
    return sink.hash.hexdigest()


def main(folder: Path) -> None:
    params = {"python": "3.11"}
    for path in sorted(folder.glob("*.whl")):
        part = Part("wheel", path.name.partition("-")[0], "1", None, path.name, params)
        code = {"compiled": lambda sources: {name: b"\0" + source for name, source in sources}}
        print(path.name, digest(wheel.entries(path, part, code["compiled"])))
    for path in sorted(folder.glob("*.tar.bz2")):
        name, version, _ = path.name.split("-")
        own = Digest.of(path.read_bytes())
        part = Part("conda", name, version, own, path.name, {**params, "channel": "lab"})
        print(path.name, digest(conda.entries(path, part)))
    for path in sorted(folder.glob("*.deb")):
        from builder.layers import deb  # needs python-debian

        name, version, _ = path.name.split("_")
        print(path.name, digest(deb.entries(path, Part("deb", name, version, None, path.name), None)))
    print("code", digest(list(files.collect(folder, [("code", "/app/code")]).entries)))
    print("venv", digest(venv.entries(Part("venv", "venv", params={"python": "3.11", "full": "3.11.2"}))))


if __name__ == "__main__":
    if user := os.environ.get("BECOME"):
        with contextlib.redirect_stdout(io.StringIO()):
            main(Path(sys.argv[1]))  # loads every module while this user may still read them
        os.setgid(int(user))
        os.setuid(int(user))
    main(Path(sys.argv[1]))
