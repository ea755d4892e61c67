"""A project's models to ONNX: load, explain, convert, compare, write. What doesn't score the same is not written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from builder import git
from builder.content import Digest
from builder.errors import LockError, ModelError, ProjectError
from builder.files import temporary_folder
from builder.lock.file import REQUIREMENTS_FILE
from builder.models.assembly import contract_of
from builder.models.children import Child, ChildError, isolation
from builder.models.contract import Contract, Sources
from builder.models.runtimes import limits_for
from builder.models.sources import consumers_of, converted_models, made_from
from builder.models.spec import MAX_ONNX, metadata_of, refuse_hopeless, spec_of
from builder.pipeline.checking import load_lock, output_file
from builder.pipeline.context import Context
from builder.pipeline.gating import Gated, gate, runtimes_of
from builder.pipeline.naming import version_of
from builder.pipeline.reporting import fail, is_current, write_results
from builder.pipeline.workshop import Workshop
from builder.project import Model, Project

__all__ = ["Conversion", "Explanation", "chosen", "convert", "explain"]

_STEPS: Final = 9


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of one model. `verdict` is the gate's, None when everything was up to date."""

    name: str
    file: Path
    contract: Contract
    verdict: Mapping[str, Any] | None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a model consists of, and what stands in the way of each step."""

    name: str
    kind: str
    steps: tuple[Mapping[str, Any], ...]

    @property
    def refused(self) -> tuple[Mapping[str, Any], ...]:
        """The steps that can't be converted."""
        return tuple(step for step in self.steps if step["status"] == "refused")


@dataclass
class _Work:
    """One model on its way, with its work folder and what is known so far."""

    project: Project
    name: str
    model: Model
    folder: Path
    shop: Workshop
    facts: dict[str, str]
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    isolation: str = "none"

    @property
    def spec(self) -> dict[str, Any]:
        return spec_of(self.project, self.name, self.model, self.facts["model"])

    @property
    def original(self) -> Child:
        """Where the original is at home; an .onnx has no other home than an onnxruntime."""
        if self.model.kind == "onnx":
            return self.converter
        return self.shop.child(self.shop.own, self.folder)

    @property
    def converter(self) -> Child:
        return self.shop.child(self.shop.converter, self.folder)

    def run(self, child: Child, operation: str, job: Mapping[str, Any]) -> dict[str, Any]:
        """Do one job, keep its answer."""
        answer = child.run(operation, job)
        self.isolation = answer.isolation
        self.answers[operation] = answer.result
        return answer.result


def chosen(project: Project, names: Sequence[str]) -> tuple[tuple[str, Model], ...]:
    """The models to convert: those of `names`, or all that are to be converted; raises ProjectError."""
    models = converted_models(project)
    known = dict(project.named_models)
    for name in names:
        if name not in known:
            raise ProjectError(
                f"there is no model {name!r}", hint=f"there are: {', '.join(known) or 'none'}", file=project.file
            )
        if not known[name].is_converted:
            raise ProjectError(
                f"the model {name} is a file that is put into the image as it is: {known[name].source}",
                hint="say sample = … under it to have it checked and converted",
                file=project.file,
            )
    if not models:
        raise ProjectError(
            "the project has no model to convert",
            hint='name one: [model] with source = "model.skops" and sample = "data/holdout.csv"',
            file=project.file,
        )
    return tuple((name, model) for name, model in models if not names or name in names)


def convert(project: Project, context: Context, names: Sequence[str] = (), *, anew: bool = False) -> list[Conversion]:
    """Convert the models `names`, or all; one whose inputs didn't move is left alone unless `anew`.

    Raises ModelError when a model can't be loaded, converted, or doesn't score the same: then of its files only the
    parity report is written. Raises LockError when the lock is stale, StoreError when a package can't be had.
    """
    wanted = chosen(project, names)
    for _, model in wanted:
        consumers_of(project, model)
    shop = Workshop(project, context)
    return [_convert_one(project, name, model, shop, anew=anew) for name, model in wanted]


def _convert_one(project: Project, name: str, model: Model, shop: Workshop, *, anew: bool) -> Conversion:
    facts = made_from(project, name, model)
    refuse_hopeless(project, name, model, facts["model"])
    if not anew and (contract := is_current(project, name, model, facts)) is not None:
        return Conversion(name, project.path(model.files(name).onnx), contract, None)
    if model.sample is None:
        raise ProjectError(
            f"the model {name} has no sample to compare scores on",
            hint='say sample = "data/holdout.csv" (or .parquet, .feather): rows that it was not trained on are best',
            file=project.file,
        )
    _require_lock(project, model)
    runtimes = runtimes_of(shop, model)
    if model.kind in ("entry", "pickle", "joblib") and isolation() == "none":
        shop.context.progress.warn(
            f"{name}: this machine has no network namespaces for users: its code reaches the network"
        )
    with (
        temporary_folder("lockship-convert-") as folder,
        shop.context.progress.task(f"converting {name}", _STEPS, unit="steps") as task,
    ):
        work = _Work(project, name, model, folder, shop, facts)
        _explained(work, task.advance)
        sources = _sources(work)
        converted = _converted(work, sources)
        task.advance(1)
        gated = gate(
            shop, model, runtimes, work.spec, work.answers, work.original, work.converter, folder, task.advance
        )
        return _finish(work, converted, gated, sources)


def _require_lock(project: Project, model: Model) -> None:
    """What the original runs on is what is locked, or the comparison is worth nothing."""
    name = output_file(project)
    if model.kind == "onnx" and not name:
        return
    file = project.path(name or REQUIREMENTS_FILE)
    if not file.is_file():
        raise LockError("the project has no lock", hint="run `lockship lock`", file=file)
    load_lock(project)


def _explained(work: _Work, advance: Any) -> None:
    """Load the original at home, read the sample, and look at every step; raises ModelError where one is refused."""
    spec, model = work.spec, work.model
    with _located(work):
        work.run(work.original, "load", {"model": spec})
    advance(1)
    sample = work.project.path(model.sample or "")
    job = {"sample": str(sample.resolve()), "shown": model.sample, "drop": list(model.drop), "inputs": spec["inputs"]}
    try:
        work.run(work.converter, "sample", job)
    except ChildError as error:
        raise _of_sample(error, model.sample or "", sample) from error
    advance(1)
    with _located(work):
        work.run(work.converter, "explain", _explain_job(work, work.answers["sample"]["columns"]))
    advance(1)
    explained = work.answers["explain"]
    _refuse(work.name, explained)
    _refuse_lacking(work, explained)


def _of_sample(error: ChildError, shown: str, file: Path) -> ModelError:
    """The error with its place where errors have theirs."""
    line = error.details.get("line")
    words = error.message.removeprefix(shown).removeprefix(f":{line}").removeprefix(":").strip()
    return ModelError(words, hint=error.hint, file=file, line=line)


def _explain_job(work: _Work, columns: Sequence[Any]) -> dict[str, Any]:
    return {"model": work.spec, "columns": columns, "precision": work.model.precision}


def _refuse(name: str, explained: Mapping[str, Any]) -> None:
    refused = [step for step in explained["steps"] if step["status"] == "refused"]
    if refused:
        lines = [f"  {step['path']} ({step['class']}): {step['message']}" for step in refused]
        remedies = list(dict.fromkeys(step["remedy"] for step in refused if step.get("remedy")))
        raise ModelError(
            f"the model {name} can't be converted so that it scores the same:\n" + "\n".join(lines),
            hint="; ".join(remedies) or "`lockship convert --explain` shows every step",
        )


def _refuse_lacking(work: _Work, explained: Mapping[str, Any]) -> None:
    """The sample has every column that the model was trained on."""
    there = {column["name"] for column in work.answers["sample"]["columns"]}
    lacking = [name for name in explained.get("features") or () if name not in there]
    if lacking and explained.get("input") == "frame":
        raise ModelError(
            f"lacks {'the column' if len(lacking) == 1 else 'the columns'} {', '.join(map(repr, lacking))}, "
            f"which the model {work.name} was trained on",
            file=work.project.path(work.model.sample or ""),
            hint=f"its columns are: {', '.join(sorted(there))}",
        )


def _sources(work: _Work) -> Sources:
    project, facts = work.project, work.facts
    return Sources(
        model=facts["model"],
        data=facts.get("sample"),
        lock=facts.get("lock"),
        commit=git.last_commit(project.root, work.model.source, work.shop.context.environ),
    )


def _converted(work: _Work, sources: Sources) -> dict[str, Any]:
    """Convert, into ``model.onnx`` of the work folder."""
    project, model = work.project, work.model
    limits = limits_for(consumers_of(project, model))
    version = version_of(project, work.shop.context)
    job = {
        "model": work.spec,
        "columns": work.answers["sample"]["columns"],
        "explained": work.answers["explain"],
        "name": work.name,
        "opset": limits.opset,
        "ml_opset": limits.ml,
        "ir": limits.ir,
        "precision": model.precision,
        "raw_scores": model.raw_scores,
        "metadata": metadata_of(work.name, model, version, sources),
    }
    with _located(work):
        converted = work.run(work.converter, "convert", job)
    file = work.folder / "model.onnx"
    if not file.is_file() or file.stat().st_size > MAX_ONNX:
        raise ModelError(f"the model {work.name} is too large for one ONNX file", hint="use fewer or smaller trees")
    return converted


def _finish(work: _Work, converted: Mapping[str, Any], gated: Gated, sources: Sources) -> Conversion:
    """Write the files; raises ModelError, with the worst rows, when the scores differ."""
    project, name, model = work.project, work.name, work.model
    report = {
        "made_from": work.facts,
        "explained": work.answers["explain"],
        "applied": converted.get("applied", []),
        "limits": converted.get("limits", []),
        "runtimes": gated.runtimes,
        "first_difference": gated.first_difference,
        "isolation": work.isolation,
        "verdict": gated.verdict,
    }
    if not gated.passed:
        fail(project, name, model, report)
    data = (work.folder / "model.onnx").read_bytes()
    contract = contract_of(
        name,
        version_of(project, work.shop.context),
        model,
        digest=Digest.of(data),
        size=len(data),
        converted=converted,
        columns=work.answers["sample"]["columns"],
        golden=gated.verdict["golden"],
        sources=sources,
    )
    write_results(project, name, model, contract, data, report)
    return Conversion(name, project.path(model.files(name).onnx), contract, gated.verdict, gated.notices)


@contextmanager
def _located(work: _Work) -> Iterator[None]:
    """Errors of children name the model's file."""
    try:
        yield
    except ChildError as error:
        if error.file is None and work.model.source is not None:
            error.file = str(work.project.path(work.model.source))
        raise


def explain(project: Project, context: Context, names: Sequence[str] = ()) -> list[Explanation]:
    """What the models `names`, or all, consist of, step by step; nothing is converted or written.

    Raises ModelError when a model can't be loaded.
    """
    shop = Workshop(project, context)
    found = []
    for name, model in chosen(project, names):
        facts = made_from(project, name, model)
        refuse_hopeless(project, name, model, facts["model"])
        _require_lock(project, model)
        with (
            temporary_folder("lockship-convert-") as folder,
            context.progress.task(f"explaining {name}", None),
        ):
            work = _Work(project, name, model, folder, shop, facts)
            with _located(work):
                answer = work.run(work.converter, "explain", _explain_job(work, []))
        found.append(Explanation(name, answer["kind"], tuple(answer["steps"])))
    return found
