"""Composes the stages; the only place that knows their order. Each step can be called from Python.

>>> from builder.pipeline import lock, plan, build  # doctest: +SKIP
"""

from builder.pipeline.building import Built, build, open_store
from builder.pipeline.locking import LockReport, check, lock
from builder.pipeline.planning import Prepared, plan, prepare
from builder.pipeline.verifying import verify

__all__ = ["Built", "LockReport", "Prepared", "build", "check", "lock", "open_store", "plan", "prepare", "verify"]
