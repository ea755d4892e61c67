"""What a conversion was found to be: `NAME.parity.json`, the page that people read, and the words for a failure.

No times are in it, so that the same model, sample and runtimes give the same report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.errors import ModelError
from builder.templating import render
from builder.words import plural

__all__ = ["SCHEMA", "Bin", "Group", "Histogram", "Parity", "Row", "Scatter", "Variant", "Verdict", "failure", "page"]

SCHEMA: Final = "dev.lockship.parity/v1"

_ROWS: Final = 3  # of the worst that a message shows
_COLUMNS: Final = 8
_WIDEST: Final = 100  # characters
Cell = bool | int | float | str | None


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Reason(_Value):
    """Why, with a `code`: ``shape``, ``labels``, ``numbers``, ``ties``, ``unscored``, ``variants`` or ``nothing``."""

    code: str
    message: str


class Group(_Value):
    """Rows of one kind. Those that aren't `strict` are beyond the contract: differences there are limits, no failures.

    `refused` are those that the original raises for, `unscored` those that it scores and the runtime refuses; `flipped`
    are ties that come out otherwise, `vote_flips` those among them that are votes.
    """

    name: str
    why: str
    strict: bool
    rows: int
    compared: int
    refused: int
    unscored: int
    ties: int
    label_mismatches: int
    flipped: int
    vote_flips: int
    outside: int
    max_abs: float
    max_rel: float

    @property
    def wrong(self) -> int:
        """Rows that are not as they should be, as far as one count can say."""
        return max(self.label_mismatches, self.outside, self.vote_flips, self.unscored)


class Variant(_Value):
    """One way to score: a runtime, a number of threads, and how many rows at once."""

    runtime: str
    threads: int
    batch: int | str
    rows: int
    label_mismatches: int
    flipped: int
    outside: int
    other_labels: int
    max_abs: float

    @property
    def wrong(self) -> int:
        """Rows that are not as they should be."""
        return max(self.label_mismatches, self.outside, self.other_labels)


class Pair(_Value):
    """The original's output for a row, and what came instead."""

    expected: Cell | tuple[Cell, ...]
    got: Cell | tuple[Cell, ...]


class Row(_Value):
    """A row that is off: number `place` of its group. `variant` says how it was scored, when that matters."""

    row: int
    place: int
    group: str
    wrong: bool
    why: str
    inputs: dict[str, Cell]
    outputs: dict[str, Pair]
    variant: dict[str, Any] | None = None


class Bin(_Value):
    """Rows that are off by ``10**exponent`` or more, but by less than ten times that."""

    exponent: int
    rows: int
    outside: int


class Histogram(_Value):
    """How many rows are off by how much, in one output; in `not_finite` only one of both scores is a number."""

    output: str
    exact: int
    not_finite: int
    bins: tuple[Bin, ...]


class Scatter(_Value):
    """Some of the `rows` rows: expected, got, and whether that is out of tolerance."""

    output: str
    column: int
    rows: int
    points: tuple[tuple[float, float, bool], ...]


class Plots(_Value):
    """What is drawn."""

    histogram: tuple[Histogram, ...]
    scatter: tuple[Scatter, ...]


class Verdict(_Value):
    """The answer of `compare`."""

    passed: bool
    reasons: tuple[Reason, ...]
    groups: tuple[Group, ...]
    variants: tuple[Variant, ...]
    worst: tuple[Row, ...]
    plots: Plots
    limits: tuple[Reason, ...]
    runtimes: tuple[str, ...]
    versions: dict[str, str]
    tolerance: dict[str, float]
    precision: str
    digests: dict[str, str] = Field(default_factory=dict)

    @property
    def compared(self) -> int:
        """Rows that both scored."""
        return sum(group.compared for group in self.groups)

    @property
    def strict(self) -> tuple[Group, ...]:
        """The groups that decide."""
        return tuple(group for group in self.groups if group.strict)


class Difference(_Value):
    """Where it starts, and what most likely helps."""

    step: str | None = None
    message: str | None = None
    remedy: str | None = None


class Used(_Value):
    """A consumer, and the runtime that scored for it."""

    consumer: str
    version: str
    notice: str | None = None


class Step(_Value):
    """A step of the original, as `explain` sees it."""

    path: str
    kind: str = Field(default="", alias="class")
    status: str
    message: str | None = None
    remedy: str | None = None


class Parity(_Value):
    """The whole report. `applied` are remedies that the conversion took; `limits` what it can't promise."""

    schema_: Literal["dev.lockship.parity/v1"] = Field(default=SCHEMA, alias="schema")
    model: str
    passed: bool
    verdict: Verdict
    runtimes: tuple[Used, ...] = ()
    first_difference: Difference | None = None
    steps: tuple[Step, ...] = ()
    applied: tuple[dict[str, Any], ...] = ()
    limits: tuple[str, ...] = ()
    made_from: dict[str, Any] = Field(default_factory=dict)
    isolation: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Parity:
        """From the document that is written as ``NAME.parity.json``."""
        explained = document.get("explained") or {}
        told = tuple(limit if isinstance(limit, str) else limit["message"] for limit in document.get("limits") or ())
        return cls.model_validate({**document, "steps": explained.get("steps") or (), "limits": told})

    @property
    def all_limits(self) -> tuple[str, ...]:
        """Those of the conversion and those that the gate found."""
        return tuple(dict.fromkeys((*self.limits, *(limit.message for limit in self.verdict.limits))))


def failure(name: str, report: Path, document: Mapping[str, Any]) -> ModelError:
    """What a person is told: why, the worst rows with both outputs, the first step that differs, and a remedy.

    `document` is the failed report, `report` the page that shows it.
    """
    parity = Parity.of(document)
    lines = [f"the model {name} scores differently in ONNX:"]
    lines += [f"  {reason.message}" for reason in parity.verdict.reasons]
    for row in [row for row in parity.verdict.worst if row.wrong][:_ROWS]:
        lines += _told(row)
    first = parity.first_difference or Difference()
    if first.step:
        lines.append("  the first step that differs: " + ": ".join(filter(None, (first.step, first.message))))
    hint = "; ".join(filter(None, (first.remedy, f"the report is {report}")))
    return ModelError("\n".join(lines), hint=hint)


def _told(row: Row) -> list[str]:
    shown = [f"{column} = {shortened(value)}" for column, value in list(row.inputs.items())[:_COLUMNS]]
    more = f" and {len(row.inputs) - _COLUMNS} more" if len(row.inputs) > _COLUMNS else ""
    lines = [f"  row {row.place} of {row.group}: {', '.join(shown)}{more}"]
    for output, pair in row.outputs.items():
        lines.append(f"    {output}: expected {shortened(pair.expected)}, got {shortened(pair.got)}")
    return lines


def shortened(value: Cell | Sequence[Cell]) -> str:
    """As JSON, and not longer than a line."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def page(document: Mapping[str, Any]) -> str:
    """The report as one HTML file that needs nothing else."""
    from builder.models import plots

    parity = Parity.of(document)
    verdict = parity.verdict
    return render(
        "parity.html.j2",
        {
            "parity": parity,
            "verdict": verdict,
            "facts": _facts(verdict),
            "bars": [plots.bars(one, verdict.tolerance["absolute"]) for one in verdict.plots.histogram],
            "clouds": [drawn for one in verdict.plots.scatter if (drawn := plots.cloud(one)) is not None],
            "grid": _grid(verdict),
            "frame": plots.FRAME,
            "plural": plural,
            "amount": amount,
            "shortened": shortened,
        },
    )


def _facts(verdict: Verdict) -> list[tuple[str, str, bool]]:
    """The numbers at the top: what, how much, and whether it is as it should be."""
    wrong = sum(group.label_mismatches for group in verdict.strict)
    outside = sum(group.outside for group in verdict.strict)
    flipped = sum(group.flipped for group in verdict.strict)
    ties = sum(group.ties for group in verdict.strict)
    return [
        ("rows compared", f"{verdict.compared:,}", verdict.compared > 0),
        ("other labels", f"{wrong:,}", not wrong),
        ("out of tolerance", f"{outside:,}", not outside),
        ("greatest difference", amount(max((group.max_abs for group in verdict.strict), default=0.0)), not outside),
        ("ties decided otherwise", f"{flipped:,} of {ties:,}", not any(group.vote_flips for group in verdict.strict)),
    ]


def amount(value: float) -> str:
    """A difference in two digits."""
    return "0" if value == 0 else f"{value:.2g}".replace("e-0", "e-")


def _grid(verdict: Verdict) -> list[tuple[str, list[str], list[tuple[int, list[Variant]]]]]:
    """For each runtime: the batches, and for each number of threads its variants in their order."""
    found = []
    for runtime in verdict.runtimes:
        mine = [one for one in verdict.variants if one.runtime == runtime]
        batches = list(dict.fromkeys(str(one.batch) for one in mine))
        threads = list(dict.fromkeys(one.threads for one in mine))
        found.append((runtime, batches, [(count, [v for v in mine if v.threads == count]) for count in threads]))
    return found
