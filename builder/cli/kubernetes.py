"""`lockship export kubernetes`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, optional_project
from builder.cli.terminal import Terminal, relative
from builder.errors import UsageError
from builder.files import named_output, write_file
from builder.pipeline.copying import missing
from builder.pipeline.deploying import rendered
from builder.pipeline.targets import opened_target
from builder.releases.record import read_record
from builder.stagekeys import Stage

__all__ = ["run"]


def run(terminal: Terminal, path: Path, repository: str | None, version: str, stage: str, output: Path) -> None:
    """Write the manifests, or print them."""
    machine = context(terminal)
    project = None if repository is not None and path == Path() else optional_project(path)
    with opened_target(repository, project, machine) as target:
        read = read_record(target.store, version)
        if read is None:
            raise missing(target.store, version, target.name)
        record = read[0]
        if project is not None and stage in project.stages:
            settings = project.stages[stage]
        elif stage in record.stages:
            settings = Stage.model_validate(record.stages[stage])
        else:
            raise UsageError(
                f"there is no stage {stage!r}", hint=f"there are: {', '.join(sorted(record.stages)) or 'none'}"
            )
        if settings.deploy.target != "kubernetes":
            raise UsageError(
                f"{stage} is deployed to {settings.deploy.target}",
                hint=f'say target = "kubernetes" under [stages.{stage}.deploy]',
            )
        text = rendered(target, record, stage, settings.deploy)
    if output != Path("-"):
        where = named_output(output, "--output")
        write_file(where, text.encode())
        terminal.note(f"wrote {relative(where)}")
    document = {"version": version, "stage": stage, "digest": record.index, "manifests": text}
    terminal.result("export-kubernetes", document, text if output == Path("-") else str(output))
