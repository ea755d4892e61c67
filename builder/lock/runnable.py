"""The python of a base image laid out so that this machine can run it, and nothing else of the image.

Flat, whatever the paths in the image: ``bin/pythonX.Y``, ``loader``, ``lib`` with the shared libraries that it needs to
start, and ``home`` with its standard library.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Final

from builder.errors import ArtifactError, StoreError
from builder.lock.interpreter import Python
from builder.lock.rootfs import File, Folder, Tree

__all__ = ["FORMAT", "lay_out"]

# Raised whenever the layout is another one: part of the name under which it is kept.
FORMAT: Final = 1

# Of the standard library, what compiling never imports.
_UNWANTED: Final = frozenset(
    ("site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__", "ensurepip", "lib2to3", "tkinter")
)
_DEPTH: Final = 8


def lay_out(tree: Tree, python: Python, minor: str, folder: Path) -> None:
    """Fill `folder`; raises ArtifactError for a malformed image, StoreError as the disk does."""
    files = {f"bin/python{minor}": _required(tree, python.path)}
    if python.loader:
        files["loader"] = _required(tree, python.loader)
    files.update((f"lib/{posixpath.basename(name)}", file) for name, file in python.libraries.items())
    home = "home" + python.library.removeprefix(python.prefix)
    library = tree.folder(python.library)
    assert library is not None
    files.update(_modules(library, home, _DEPTH))
    try:
        for path, file in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as output:
                for chunk in tree.chunks(file):
                    output.write(chunk)
            target.chmod(0o755 if path.startswith(("bin/", "lib/", "loader")) else 0o644)
        (folder / home / "lib-dynload").mkdir(exist_ok=True)  # it looks whether there is one
    except OSError as error:
        raise StoreError(
            f"cannot unpack the base's python: {error.strerror or error}",
            hint="free some space, or name another folder with LOCKSHIP_CACHE",
        ) from error


def _required(tree: Tree, path: str) -> File:
    found = tree.file(path)
    if found is None:
        raise ArtifactError(f"the base has no {path}", hint="run `lockship lock` again")
    return found[1]


def _modules(folder: Folder, path: str, depth: int) -> dict[str, File]:
    """The modules in source below a folder; links out of it (to /etc, say) are left alone."""
    found: dict[str, File] = {}
    for name, node in folder.children.items():
        if isinstance(node, File) and name.endswith(".py"):
            found[f"{path}/{name}"] = node
        elif isinstance(node, Folder) and name not in _UNWANTED and depth and not name.startswith("config-"):
            found |= _modules(node, f"{path}/{name}", depth - 1)
    return found
