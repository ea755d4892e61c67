"""Which of the locked packages an image needs that only runs ONNX models: onnxruntime, numpy, and what those need.

The lock's own annotations tell: each pin says who asked for it. `requirements.lock` keeps everything, because that is
where the original model is at home; the image gets the rest of it as a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from packaging.utils import canonicalize_name

from builder.errors import ProjectError
from builder.lock.pins import Pin
from builder.project import Project

__all__ = ["needed_at_runtime"]

_ROOTS: Final = ("numpy", "onnxruntime")


def needed_at_runtime(pins: Sequence[Pin], project: Project) -> tuple[Pin, ...]:
    """The pins of one platform that belong into the image, in their order; all of them unless `runtime` is ``onnx``.

    Raises ProjectError when what runs the models is not among them.
    """
    if project.image.runtime != "onnx":
        return tuple(pins)
    names = {pin.name for pin in pins}
    if missing := [name for name in _ROOTS if name not in names]:
        raise ProjectError(
            f'runtime = "onnx" needs {" and ".join(missing)}, which no requirement asks for',
            hint=f"add {' and '.join(missing)} to {project.python.requirements[0]}",
            file=project.file,
        )
    needed: set[str] = set(_ROOTS)
    while more := {pin.name for pin in pins if pin.name not in needed and _askers(pin) & needed}:
        needed |= more
    return tuple(pin for pin in pins if pin.name in needed)


def _askers(pin: Pin) -> set[str]:
    """The packages that asked for `pin`, without the files that did."""
    return {canonicalize_name(asker.partition("[")[0]) for asker in pin.via if not asker.startswith("-")}
