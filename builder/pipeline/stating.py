"""What a release needs of data and databases: said when it is made, compared when it is to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from builder.errors import LockshipError
from builder.pipeline.context import Context
from builder.pipeline.inspecting import live_schema, needed_schema
from builder.pipeline.observing import observe, observe_live
from builder.project import Project
from builder.releases.compatibility import Compatibility, check
from builder.releases.datacheck import check_data as compare_data
from builder.releases.datasets import data_sets_from_json
from builder.releases.schema import schema_from_json

__all__ = ["Level", "check_data", "check_database", "state_data", "state_database"]

Level = Literal["refuse", "warn", "note"]
_LEVELS: Mapping[str, Level] = {"incompatible": "refuse", "warning": "warn", "compatible": "note"}


def state_data(project: Project, context: Context) -> tuple[dict[str, Any], ...]:
    """`[data]` as a record has it."""
    return tuple({**one.to_json(), "digest": str(one.digest)} for one in observe(project, context.progress))


def state_database(project: Project, context: Context) -> dict[str, Any] | None:
    """The schema that `[database]` says, as a record has it."""
    found = needed_schema(project, context.environ, progress=context.progress)
    return None if found is None else {**found.to_json(), "digest": str(found.digest)}


def check_database(
    needed: Mapping[str, Any], reference: str, context: Context, *, root: Path, direction: Literal["back", "forward"]
) -> Iterator[tuple[Level, str]]:
    """The schema that a release needs against the live one behind `reference`, a path in it below `root`.

    `direction` is where the stage goes, which tells the way that a migration would have to go.

    A database that can not be asked refuses: whether the release fits is not known then.
    """
    wanted = schema_from_json(needed)
    try:
        live = live_schema(wanted, reference, context.environ, root=root, progress=context.progress)
    except LockshipError as error:
        yield "refuse", f"the database can't be asked: {error.message}" + (f" ({error.hint})" if error.hint else "")
        return
    found = check(wanted, live)
    yield from ((_LEVELS[one.severity], one.text) for one in found.findings)
    if not found.findings:
        yield "note", "the live database is what the release needs"
    if not found.ok and (remedy := found.remedy(direction)):
        yield "note", remedy


def check_data(needed: Sequence[Mapping[str, Any]], project: Project, context: Context) -> Iterator[tuple[Level, str]]:
    """The data sets that a release was made from against what is there now."""
    wanted = data_sets_from_json(needed)
    live = observe_live(wanted, project.root, context.progress)
    # a clone without its data says nothing about them
    away = {one.name for one in live if not one.files and not one.is_elsewhere}
    yield from (("note", f"data set {name}: not compared, it is not in this folder") for name in sorted(away))
    found: Compatibility = compare_data(
        [one for one in wanted if one.name not in away], [one for one in live if one.name not in away]
    )
    yield from ((_LEVELS[one.severity], one.text) for one in found.findings)
