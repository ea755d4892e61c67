"""Composes the stages; the only place that knows their order. Each step can be called from Python.

A step's module is imported when the step is first named: planning needs none of what locking needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.pipeline.building import Built, build, open_store
    from builder.pipeline.checking import check
    from builder.pipeline.context import Context
    from builder.pipeline.locking import LockReport, lock
    from builder.pipeline.planning import Prepared, plan, prepare
    from builder.pipeline.shipping import Loaded, load, run
    from builder.pipeline.verifying import Verified, verify

__all__ = [
    "Built",
    "Context",
    "Loaded",
    "LockReport",
    "Prepared",
    "Verified",
    "build",
    "check",
    "load",
    "lock",
    "open_store",
    "plan",
    "prepare",
    "run",
    "verify",
]

_HOMES = {
    "building": ("Built", "build", "open_store"),
    "checking": ("check",),
    "context": ("Context",),
    "locking": ("LockReport", "lock"),
    "planning": ("Prepared", "plan", "prepare"),
    "shipping": ("Loaded", "load", "run"),
    "verifying": ("Verified", "verify"),
}


def __getattr__(name: str) -> Any:
    """The step `name`, from its own module."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"builder.pipeline.{module}"), name)
    raise AttributeError(f"module 'builder.pipeline' has no attribute {name!r}")
