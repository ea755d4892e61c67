"""Is the base image to be had, where the base is one?"""

from __future__ import annotations

from builder.content import Digest
from builder.errors import LockshipError
from builder.lock.base import reference_of
from builder.pipeline.context import Context
from builder.pipeline.doctor.checks import Check, ok, warning
from builder.pipeline.doctor.registry import Clocks
from builder.pipeline.stores import open_base
from builder.project import Project
from builder.registry import probe
from builder.registry.endpoint import Endpoint, network_of
from builder.registry.reference import Reference

__all__ = ["check_base"]

_NEEDED = "only locking, and layers that no store holds, need the base's own registry"


def check_base(project: Project, context: Context, clocks: Clocks) -> Check | None:
    """Whether the base image can be read; None where the base is put together from packages, or isn't valid."""
    try:
        reference = reference_of(project.image.base, file=project.file)
    except LockshipError:
        return None  # which is said of apt
    if reference is None:
        return None
    try:
        found = _resolve(reference, project, context, clocks)
    except LockshipError as error:
        hint = f"{error.hint}; {_NEEDED}" if error.hint else _NEEDED
        return warning("registry", "base", f"{reference}: {error}", hint)
    if found is None:
        return warning("registry", "base", f"{reference} is not there", f"check [image] base; {_NEEDED}")
    return ok("registry", "base", f"{reference} can be read: {found}")


def _resolve(reference: Reference, project: Project, context: Context, clocks: Clocks) -> Digest | None:
    """What the registry has for `reference`; raises StoreError when it can't be asked."""
    endpoint = reference.repository.endpoint
    network = network_of(context.environ, project.store.plain_http)
    # first, because it gives up early
    plain = Endpoint(endpoint, network.trusted_hosts).may_be_plain
    probe.reach(endpoint, network, clocks.timer, plain=plain)
    with open_base(reference.repository, project, context) as store:
        if reference.digest is None:
            return store.resolve(str(reference.selector))
        return reference.digest if store.has_manifest(reference.digest) else None
