"""A real base image with a Debian system and its python, made by mmdebstrap and umoci: once per session."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.require import need

__all__ = ["LAYOUT_TAG", "make_base", "push"]

LAYOUT_TAG = "base"
_TOOLS = ("mmdebstrap", "umoci", "skopeo")
_OLD = {  # what only a base has that somebody worked on: an environment in our place, an application's folder
    "opt/venv/pyvenv.cfg": "home = /usr/bin\n",
    "opt/venv/lib/python3.11/site-packages/leftover.py": "",
    "app/README": "the base's own\n",
}


def make_base(folder: Path) -> Path:
    """An OCI layout in `folder` with an image for this machine's processor, of two layers; its user is www-data."""
    for name in _TOOLS:
        need(name, shutil.which(name), f"apt-get install {name}")
    tar, layout, above = folder / "base.tar", folder / "layout", folder / "above"
    packages = "--include=python3.11-minimal,libpython3.11-stdlib"
    made = subprocess.run(
        ["mmdebstrap", "--variant=minbase", packages, "bookworm", str(tar)], check=False, capture_output=True, text=True
    )
    need("a Debian mirror", made.returncode == 0, made.stderr[-300:])
    for name, text in _OLD.items():
        (above / name).parent.mkdir(parents=True, exist_ok=True)
        (above / name).write_text(text)
    changes = folder / "above.tar"
    owner = ["--owner=33", "--group=33", "--mtime=@0", "--sort=name"]
    _run("tar", "-C", str(above), *owner, "-cf", str(changes), "app", "opt/venv")
    _run("umoci", "init", "--layout", str(layout))
    image = f"{layout}:{LAYOUT_TAG}"
    _run("umoci", "new", "--image", image)
    _run("umoci", "raw", "add-layer", "--image", image, str(tar))
    _run("umoci", "raw", "add-layer", "--image", image, str(changes))
    settings = ["--config.user=www-data", "--config.env=PATH=/opt/venv/bin:/usr/bin:/bin", "--config.label=team=base"]
    _run("umoci", "config", "--image", image, *settings)
    tar.unlink()
    return layout


def push(layout: Path, name: str, *, media: str) -> None:
    """Copy the image to a registry as ``v2s2`` (Docker's media types) or ``oci``."""
    _run(
        "skopeo",
        "copy",
        "-q",
        "--format",
        media,
        "--dest-tls-verify=false",
        f"oci:{layout}:{LAYOUT_TAG}",
        f"docker://{name}",
    )


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
