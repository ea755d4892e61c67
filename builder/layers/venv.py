"""The virtual environment's skeleton: what `python -m venv --without-pip` leaves, without where and when."""

from __future__ import annotations

from builder.layers import tar
from builder.layers.recipe import Part
from builder.layers.tar import Entry
from builder.layers.wheel import VENV, site_packages

__all__ = ["OPAQUE", "entries"]

# Hides what lower layers have in the same folder (OCI image specification v1.1, "Opaque Whiteout").
OPAQUE = ".wh..wh..opq"


def entries(part: Part) -> list[Entry]:
    """``/opt/venv``. `part.params`: `python` (X.Y) and `full` (X.Y.Z); further, for a base that is an image,
    `interpreter` (its absolute path; else ``/usr/bin/pythonX.Y``) and `hide` (whether another /opt/venv lies below).
    """
    python, full = part.params["python"], part.params["full"]
    interpreter = str(part.params.get("interpreter", f"/usr/bin/python{python}"))
    config = {"home": interpreter.rpartition("/")[0] or "/", "include-system-site-packages": "false", "version": full}
    text = "".join(f"{key} = {value}\n" for key, value in config.items())
    found = [
        tar.file(f"{VENV}/pyvenv.cfg", text.encode()),
        tar.symlink(f"{VENV}/bin/python", interpreter),
        tar.symlink(f"{VENV}/bin/python3", "python"),
        tar.symlink(f"{VENV}/bin/python{python}", "python"),
        tar.symlink(f"{VENV}/lib64", "lib"),
        tar.directory(site_packages(python)),
    ]
    return [*found, tar.file(f"{VENV}/{OPAQUE}", b"")] if part.params.get("hide") else found
