"""A release on one page, for people: Markdown that reads well unrendered, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.releases.record import Record
from builder.words import human_size, plural

__all__ = ["page"]


def page(record: Record) -> str:
    """The page of `record`."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: Record) -> Iterator[str]:
    yield f"# {record.name} {record.version}"
    yield ""
    yield from _pairs(_facts(record))
    for title, lines in (
        ("Images", [f"{platform}: {digest}" for platform, digest in sorted(record.images.items())]),
        ("Lock", [f"{name}: {digest}" for name, digest in sorted(record.lock.items())]),
        ("Models", _models(record)),
        ("Data", _data(record)),
        ("Database", _database(record)),
        *((f"Changes of {name} since {record.since}", lines) for name, lines in sorted(record.changes.items())),
        ("Stages", sorted(record.stages)),
        ("Steps", [f"{name}: {seconds:.1f} s" for name, seconds in record.steps.items()]),
    ):
        if lines:
            yield from ("", f"## {title}", "", *(f"- {line}" for line in lines))


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    yield "Index", record.index
    yield "Released", f"{record.at} by {record.by}"
    if record.where:
        yield "Made at", record.where
    if record.git is None:
        yield "Code", "unknown: it was in no git repository"
    else:
        branch = f" on {record.git.branch}" if record.git.branch else ""
        marks = [word for word, is_so in (("dirty", record.git.dirty), ("not pushed", not record.git.pushed)) if is_so]
        marked = f" ({', '.join(marks)})" if marks else ""
        yield "Code", f"commit {record.git.commit}{branch}{marked}"
        if record.git.remote:
            yield "Repository", record.git.remote
    if record.base:
        yield "Base", record.base
    if record.signing:
        yield "Signed with", record.signing.get("fingerprint", "")
    else:
        yield "Signed with", "nothing"
    if record.allowed:
        yield "Allowed", ", ".join(record.allowed)
    yield "Lockship", record.tool


def _pairs(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    for name, value in pairs:
        yield f"- {name}: {value}"


def _models(record: Record) -> Sequence[str]:
    found = []
    for model in record.models:
        verdict = {True: "parity passed", False: "parity FAILED", None: "shipped as it is"}[model.passed]
        more = f", {model.summary}" if model.summary else ""
        found.append(f"{model.name}: {model.file} {model.onnx or model.source or ''} ({verdict}{more})")
    return found


def _data(record: Record) -> Sequence[str]:
    found = []
    for one in record.data:
        files = one.get("files") or []
        size = sum(int(file.get("size", 0)) for file in files)
        rows = f", {one['rows']:,} rows" if isinstance(one.get("rows"), int) else ""
        columns = f", {plural(len(one['columns']), 'column')}" if one.get("columns") else ""
        text = f"{one.get('name')} ({one.get('role', 'training')}): {plural(len(files), 'file')}, {human_size(size)}"
        found.append(f"{text}{rows}{columns}; {one.get('digest', '')}".rstrip("; "))
    return found


def _database(record: Record) -> Sequence[str]:
    schema = record.database
    if not schema:
        return []
    tables = schema.get("tables") or []
    revision = schema.get("revisions") or schema.get("revision")
    found = [f"{schema.get('dialect', '')}: {plural(len(tables), 'table')}; schema {schema.get('digest', '')}"]
    if revision:
        found.append(f"Alembic revision {', '.join(revision) if isinstance(revision, list) else revision}")
    return found
