"""The virtual environment's skeleton: what `python -m venv --without-pip` leaves, without where and when."""

from __future__ import annotations

from builder.layers import tar
from builder.layers.recipe import Part
from builder.layers.tar import Entry
from builder.layers.wheel import VENV, site_packages

__all__ = ["entries"]


def entries(part: Part) -> list[Entry]:
    """``/opt/venv`` for the interpreter ``/usr/bin/pythonX.Y``; `part.params`: `python` (X.Y) and `full` (X.Y.Z)."""
    python, full = part.params["python"], part.params["full"]
    config = {"home": "/usr/bin", "include-system-site-packages": "false", "version": full}
    text = "".join(f"{key} = {value}\n" for key, value in config.items())
    return [
        tar.file(f"{VENV}/pyvenv.cfg", text.encode()),
        tar.symlink(f"{VENV}/bin/python", f"/usr/bin/python{python}"),
        tar.symlink(f"{VENV}/bin/python3", "python"),
        tar.symlink(f"{VENV}/bin/python{python}", "python"),
        tar.symlink(f"{VENV}/lib64", "lib"),
        tar.directory(site_packages(python)),
    ]
