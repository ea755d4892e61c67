"""What a verdict can't promise, in sentences for the report and the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.models.inside.feeds import feature_names

if TYPE_CHECKING:
    from builder.models.inside.compare import Compared, Gate

__all__ = ["limits_of"]


def limits_of(gate: Gate, groups: list[dict[str, Any]], found: Compared) -> list[dict[str, str]]:
    """Each with a code, so that it can be looked for."""
    limits = [
        *_refused(gate),
        *_lenient(groups),
        *_rounded(gate, found),
        *_ties(groups),
        *_empty(gate),
        *_skipped(gate),
    ]
    return [{"code": code, "message": message} for code, message in dict.fromkeys(limits)]


def _refused(gate: Gate) -> list[tuple[str, str]]:
    """Rows that the original raises for: nothing stops a client from scoring them."""
    unscored = {row for scored in gate.job["scored"] for row in scored["refused"]}
    limits = []
    for said in gate.job["reference"]["messages"]:
        rows = said["rows"]
        both = sum(row in unscored for row in rows)
        does = "refuses them too" if both == len(rows) else "scores them" if not both else f"refuses {both:,} of them"
        groups = dict.fromkeys(g["name"] for row in rows for g in gate.job["groups"] if g["start"] <= row < g["stop"])
        limits.append(
            (
                "refused-by-original",
                f"{len(rows):,} rows ({', '.join(groups)}) are refused by the original: "
                f"{_brief(said['message'])} The model in ONNX {does}.",
            )
        )
    return limits


def _brief(message: str) -> str:
    """The first sentence of what a library says at length."""
    first = message.split(". ")[0][:200].rstrip(". ")
    return f"“{first}”."


def _lenient(groups: list[dict[str, Any]]) -> list[tuple[str, str]]:
    limits = []
    for group in groups:
        off = max(group["label_mismatches"], group["outside"], group["vote_flips"], group["unscored"])
        if off and not group["strict"]:
            limits.append(
                (
                    "outside-the-contract",
                    f"{off:,} of {group['rows']:,} rows made for “{group['name']}” ({group['why']}) score differently: "
                    "this is beyond what the contract allows or the sample shows.",
                )
            )
    return limits


def _rounded(gate: Gate, found: Compared) -> list[tuple[str, str]]:
    """Float64 rows that float32 can't hold."""
    import numpy as np

    float32 = {f["name"] for t in gate.job["inputs"] if t["type"] == "float32" for f in t["features"]}
    sample = next((group for group in gate.job["groups"] if group["name"] == "sample"), None)
    if sample is None:
        return []
    part = slice(sample["start"], sample["stop"])
    inexact = np.zeros(sample["stop"] - sample["start"], dtype=bool)
    columns = []
    for name in feature_names(gate.job["inputs"]):
        column = gate.table[name][part]
        if name in float32 and column.dtype.kind in "fi":
            with np.errstate(over="ignore"):
                off = (column.astype(np.float32).astype(np.float64) != column) & ~np.isnan(column.astype(np.float64))
            inexact |= off
            columns += [name] if off.any() else []
    if not columns:
        return []
    where = found.within(sample["start"], sample["stop"])
    worst = max((float(n.absolute[where].max(initial=0)) for n in found.numbers.values()), default=0.0)
    return [
        (
            "float32",
            f"{int(inexact.sum()):,} of {len(inexact):,} rows of the sample hold numbers that float32 rounds "
            f"({len(columns):,} columns, {columns[0]!r} for one). Scores of the sample differ by {worst:.2g} at most.",
        )
    ]


def _ties(groups: list[dict[str, Any]]) -> list[tuple[str, str]]:
    ties, flipped = sum(group["ties"] for group in groups), sum(group["flipped"] for group in groups)
    if not ties:
        return []
    return [
        (
            "ties",
            f"{ties:,} rows are ties: the original's two best classes are equal within 1e-6. "
            f"{flipped:,} of them get another label than the original's, which no consumer can tell from its own.",
        )
    ]


def _empty(gate: Gate) -> list[tuple[str, str]]:
    said = {p["message"] for scored in gate.job["scored"] for p in scored["problems"] if p["kind"] == "empty"}
    return [("empty-batch", f"{message.rstrip(chr(46))}. Don't pass it empty batches.") for message in sorted(said)]


def _skipped(gate: Gate) -> list[tuple[str, str]]:
    skipped = len(gate.job["reference"]["skipped"]) + sum(len(scored["skipped"]) for scored in gate.job["scored"])
    if not skipped:
        return []
    return [("not-compared", f"{skipped:,} rows weren't compared: too many of their neighbours are refused.")]
