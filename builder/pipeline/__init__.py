"""Composes the stages; the only place that knows their order. Each step can be called from Python.

A step's module is imported when the step is first named: planning needs none of what locking needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.pipeline.building import Built, build
    from builder.pipeline.bundling import Bundled, export_bundle
    from builder.pipeline.checking import check
    from builder.pipeline.context import Context
    from builder.pipeline.copying import Copied, copy
    from builder.pipeline.loading import Fetched, load_image, run_image
    from builder.pipeline.locking import LockReport, lock
    from builder.pipeline.planning import Prepared, plan, prepare
    from builder.pipeline.pulling import Pulled, pull
    from builder.pipeline.pushing import Pushed, push
    from builder.pipeline.shipping import Loaded, load, run
    from builder.pipeline.stores import open_registry, open_store
    from builder.pipeline.unbundling import Imported, import_bundle
    from builder.pipeline.verifying import Verified, verify

__all__ = [
    "Built",
    "Bundled",
    "Context",
    "Copied",
    "Fetched",
    "Imported",
    "Loaded",
    "LockReport",
    "Prepared",
    "Pulled",
    "Pushed",
    "Verified",
    "build",
    "check",
    "copy",
    "export_bundle",
    "import_bundle",
    "load",
    "load_image",
    "lock",
    "open_registry",
    "open_store",
    "plan",
    "prepare",
    "pull",
    "push",
    "run",
    "run_image",
    "verify",
]

_HOMES = {
    "building": ("Built", "build"),
    "bundling": ("Bundled", "export_bundle"),
    "checking": ("check",),
    "context": ("Context",),
    "copying": ("Copied", "copy"),
    "loading": ("Fetched", "load_image", "run_image"),
    "locking": ("LockReport", "lock"),
    "planning": ("Prepared", "plan", "prepare"),
    "pulling": ("Pulled", "pull"),
    "pushing": ("Pushed", "push"),
    "shipping": ("Loaded", "load", "run"),
    "stores": ("open_registry", "open_store"),
    "unbundling": ("Imported", "import_bundle"),
    "verifying": ("Verified", "verify"),
}


def __getattr__(name: str) -> Any:
    """The step `name`, from its own module."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"builder.pipeline.{module}"), name)
    raise AttributeError(f"module 'builder.pipeline' has no attribute {name!r}")
