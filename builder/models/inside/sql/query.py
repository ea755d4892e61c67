"""The query's text: a documented file, the same bytes for the same model and options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builder.models.inside.problem import Problem
from builder.models.inside.sql.render import expression
from builder.models.inside.sql.translation import Feature, Output, Translation
from builder.models.inside.sql.tree import Case, Compare, Expression, Literal
from builder.models.inside.sql.words import Words

__all__ = ["Options", "Result", "header", "query", "results"]


@dataclass(frozen=True)
class Options:
    """What the query is for: a table (with its schema, if any), columns that are handed through, what to create."""

    table: tuple[str, ...]
    keys: tuple[str, ...]
    prefix: str = ""
    view: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Result:
    """A column that comes out: its name, what it means, and for a class's number which class."""

    name: str
    meaning: str
    value: Expression
    label: Any = None


def results(words: Words, translated: Translation, options: Options) -> list[Result]:
    """The columns behind the keys; raises Problem when two have one name."""
    found = [one for output in translated.outputs for one in _columns(words, output, options.prefix)]
    names: set[str] = set()
    for name in (*options.keys, *(one.name for one in found)):
        if name.casefold() in names:
            raise Problem(
                f"two columns of the result are called {name!r}", hint="put something before: --prefix score_"
            )
        names.add(name.casefold())
    return found


def _columns(words: Words, output: Output, prefix: str) -> list[Result]:
    base = {"label": "label", "probabilities": "probability", "scores": "score", "value": "value"}.get(
        output.meaning, "feature"
    )
    if len(output.values) == 1:
        return [Result(prefix + base, output.meaning, output.values[0])]
    labels = (
        output.classes if output.classes and len(output.classes) == len(output.values) else range(len(output.values))
    )
    names = [f"{prefix}{base}_{label}" for label in labels]
    longest = words.longest_name or 1000
    if any("\0" in name or len(name.encode()) > longest for name in names):
        names = [f"{prefix}{base}_{number}" for number in range(len(names))]
    return [Result(*one) for one in zip(names, [output.meaning] * len(names), output.values, labels, strict=False)]


def query(words: Words, translated: Translation, options: Options, header: Sequence[str]) -> str:
    """The statement, behind its header. Raises Problem where the dialect has no way to say it."""
    columns = results(words, translated, options)
    scored = translated.scored
    final: list[Expression] = [
        one.value if scored is None else Case(((Compare(scored, "=", Literal(1)), one.value),), None) for one in columns
    ]
    handed = translated.stages.needed(final)
    if max(len(names) + len(options.keys) for names in handed) > words.most_columns:
        raise Problem(f"the query needs more columns at once than the {words.most_columns} that {words.title} has")
    keys = [f"k{number}" for number in range(len(options.keys))]
    lines = [f"-- {line}".rstrip() for line in header]
    if options.view:
        lines.append(f"{words.create_view} {'.'.join(map(words.name, options.view))} AS")
    lines += _with(words, translated, options, handed, keys)
    shown = [f"{key} AS {words.name(name)}" for key, name in zip(keys, options.keys, strict=False)]
    shown += [
        f"{expression(words, value)} AS {words.name(one.name)}" for value, one in zip(final, columns, strict=False)
    ]
    lines += ["SELECT", "  " + ",\n  ".join(shown), f"FROM {_stage(len(handed) - 1)};", ""]
    return "\n".join(lines)


def _stage(number: int) -> str:
    return f"stage{number}"


def _with(
    words: Words, translated: Translation, options: Options, handed: list[list[str]], keys: list[str]
) -> list[str]:
    parts = []
    for number, names in enumerate(handed):
        if number == 0:
            shown = [f"t.{words.name(name)} AS {key}" for key, name in zip(keys, options.keys, strict=False)]
            used = [one for one in translated.features if one.column.name.name in names]
            shown += [f"{_source(words, one)} AS {one.column.name.name}" for one in used]
            source = ".".join(map(words.name, options.table)) + " AS t"
        else:
            own = translated.stages.columns[number]
            shown = list(keys)
            for name in names:
                value = own.get(name)
                shown.append(name if value is None else f"{expression(words, value)} AS {name}")
            source = _stage(number - 1)
        # the table itself is read as it comes: only what is computed should be computed once
        once = words.materialized if number else ""
        inner = ",\n    ".join(shown or ["1 AS nothing"])
        parts.append(f"{_stage(number)} AS {once}(\n  SELECT\n    {inner}\n  FROM {source}\n)")
    return ["WITH " + ",\n".join(parts)]


def _source(words: Words, feature: Feature) -> str:
    column = words.source(f"t.{words.name(feature.title)}", feature.column.type)
    if feature.column.type == "string" and feature.missing == "empty":
        return words.filled(column)
    return column


def header(
    contract: dict[str, Any],
    digest: str,
    words: Words,
    translated: Translation,
    options: Options,
    verified: bool = True,
) -> list[str]:
    """What the file says about itself. Names are shown as JSON, so that no line can end early."""
    shown = json.dumps
    required = [one.title for one in translated.features if one.missing == "refused"]
    lines = [
        f"Scores the rows of {shown('.'.join(options.table), ensure_ascii=False)} with the model "
        f"{shown(contract['name'], ensure_ascii=False)}, version {shown(contract['version'], ensure_ascii=False)}.",
        f"For {words.title}; written by lockship export sql. "
        + ("Don't edit it: its scores were verified." if verified else "NOT VERIFIED: its scores were never compared."),
        f"contract: {digest}",
        f"model: {contract['digest']}",
        "",
        "One row for each of the table's. A row has no score (NULL in every column of the result) when a column that",
        "must not be missing is NULL, holds a value that the model refuses, or is too large to compute with.",
    ]
    if required:
        lines.append(f"must not be missing: {', '.join(shown(name, ensure_ascii=False) for name in required)}")
    return [_one_line(line) for line in lines]


def _one_line(text: str) -> str:
    """JSON leaves some characters as they are that end a line somewhere."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text).rstrip()
