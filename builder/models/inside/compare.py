"""The verdict: the original's scores against those of a model in ONNX."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.differences import TIE, VOTES, Numbers, aligned, labels_differ, numbers, tie_gaps
from builder.models.inside.evidence import golden_rows, histogram, scatter, worst_rows
from builder.models.inside.limits import limits_of
from builder.models.inside.rows import digest
from builder.models.inside.table import Table, read_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["run"]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Compare what `reference` and `score` wrote.

    `job`: ``rows`` (a file), ``groups``, ``inputs``, ``outputs``, ``precision``, ``tolerance``, ``reference`` (the
    answer of that operation) and ``scored`` (those of `score`, one for each runtime). The verdict: ``passed``,
    ``reasons`` (each with a code and a message), ``groups``, ``variants``, ``worst``, ``plots``, ``limits``,
    ``golden``.
    """
    gate = Gate(job)
    first = gate.compared(gate.baseline)
    groups = [gate.group(group, first) for group in job["groups"]]
    variants = [gate.variant(scored, variant) for scored in job["scored"] for variant in scored["variants"]]
    reasons = gate.reasons(groups, variants)
    worst = gate.worst(first)
    verdict = {
        "passed": not reasons,
        "reasons": reasons,
        "groups": groups,
        "variants": variants,
        "worst": worst,
        "plots": {"histogram": histogram(first), "scatter": scatter(first)},
        "limits": limits_of(gate, groups, first),
        "golden": golden_rows(gate.table, job, first),
        "runtimes": [scored["runtime"] for scored in job["scored"]],
        "versions": job["reference"]["versions"],
        "tolerance": job["tolerance"],
        "precision": job["precision"],
        "digests": {"rows": digest(gate.table), "model": _file_digest(Path(job["onnx"]))},
    }
    (Path(job["folder"]) / "verdict.json").write_text(json.dumps(verdict), encoding="utf-8")  # for `steps`
    return verdict


class Compared:
    """Both scores of the rows `rows`, by output, with what is wrong by row."""

    def __init__(self, rows: NDArray[np.int64], size: int) -> None:
        import numpy as np

        self.rows = rows
        self.expected: dict[str, NDArray[Any]] = {}
        self.got: dict[str, NDArray[Any]] = {}
        self.numbers: dict[str, Numbers] = {}
        self.misshapen: list[str] = []
        self.label = np.zeros(len(rows), dtype=bool)
        self.gaps = np.full(len(rows), np.inf)
        self.strict = np.ones(size, dtype=bool)
        self.unsteady = np.zeros(size, dtype=bool)  # another label than in the first variant

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Rows with a number out of tolerance."""
        import numpy as np

        found = np.zeros(len(self.rows), dtype=bool)
        for compared in self.numbers.values():
            found |= compared.outside
        return found

    @property
    def excess(self) -> NDArray[np.float64]:
        """The greatest difference of each row, in tolerances."""
        import numpy as np

        found = np.zeros(len(self.rows))
        for compared in self.numbers.values():
            found = np.maximum(found, compared.excess)
        return found

    @property
    def mismatched(self) -> NDArray[np.bool_]:
        """Rows with another label, though the original has no tie there."""
        return self.label & (self.gaps > TIE)

    @property
    def flipped(self) -> NDArray[np.bool_]:
        """Ties that were decided otherwise."""
        return self.label & (self.gaps <= TIE)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Rows that fail."""
        found: NDArray[np.bool_] = self.outside | self.mismatched | (self.label & (self.gaps <= VOTES)) | self.unsteady
        return found

    def within(self, start: int, stop: int) -> slice:
        """Where the rows from `start` to `stop` are among `rows`."""
        import numpy as np

        low, high = np.searchsorted(self.rows, [start, stop]).tolist()
        return slice(low, high)


class Gate:
    """What is compared with what."""

    def __init__(self, job: dict[str, Any]) -> None:
        import numpy as np

        self.job = job
        self.table = read_table(Path(job["rows"]))
        self.reference = read_table(Path(job["reference"]["file"]))
        self.baseline = next(
            variant
            for variant in job["scored"][0]["variants"]
            if variant["batch"] == "all" or variant is job["scored"][0]["variants"][-1]
        )
        self._first_labels: Table | None = None
        self.strict = np.zeros(len(self.table), dtype=bool)
        for group in job["groups"]:
            self.strict[group["start"] : group["stop"]] = group["strict"]

    def compared(self, variant: dict[str, Any]) -> Compared:
        """The scores of one variant next to the original's."""
        import numpy as np

        scored = read_table(Path(variant["file"])) if variant["file"] else Table({"row": np.empty(0, dtype=np.int64)})
        rows, ours, theirs = np.intersect1d(self.reference["row"], scored["row"], return_indices=True)
        found = Compared(rows, len(rows))
        found.strict = self.strict[rows]
        before = self._labels_of_first()
        for output in self.job["outputs"] if len(rows) else []:
            if output["meaning"] == "label" and output["name"] in before.columns:
                _, here, there = np.intersect1d(scored["row"][theirs], before["row"], return_indices=True)
                labels = scored[output["name"]][theirs]
                found.unsteady[here] |= labels_differ(labels[here], before[output["name"]][there])
            got, want = scored[output["name"]][theirs], self.reference[output["meaning"]][ours]
            self._output(found, output, want, got)
        return found

    def _output(self, found: Compared, output: dict[str, Any], want: NDArray[Any], got: NDArray[Any]) -> None:
        name, meaning = output["name"], output["meaning"]
        if meaning == "label":
            found.expected[name], found.got[name] = want, got
            found.label |= labels_differ(want, got)
            return
        if meaning in ("probabilities", "scores"):
            found.gaps = tie_gaps(want)
        shaped = aligned(want, got) if want.dtype != object and got.dtype != object else None
        if shaped is None:
            found.misshapen.append(
                f"output {name} has the shape {list(got.shape)}; the original's is {list(want.shape)}"
            )
            return
        tolerance = self.job["tolerance"]
        found.expected[name], found.got[name] = shaped, got
        found.numbers[name] = numbers(shaped, got, tolerance["absolute"], tolerance["relative"])

    def group(self, group: dict[str, Any], found: Compared) -> dict[str, Any]:
        """One group's line of the verdict."""
        part = found.within(group["start"], group["stop"])
        size = group["stop"] - group["start"]
        refused = [row for row in self.job["reference"]["refused"] if group["start"] <= row < group["stop"]]
        refusing = (row for scored in self.job["scored"] for row in scored["refused"])  # whichever runtime it is
        unscored = {row for row in refusing if group["start"] <= row < group["stop"]}
        return {
            "name": group["name"],
            "why": group["why"],
            "strict": group["strict"],
            "rows": size,
            "compared": part.stop - part.start,
            "refused": len(refused),
            "unscored": len(unscored - set(refused)),
            "ties": int((found.gaps[part] <= TIE).sum()),
            **self._counts(found, part),
        }

    def _counts(self, found: Compared, part: slice) -> dict[str, Any]:
        return {
            "label_mismatches": int(found.mismatched[part].sum()),
            "flipped": int(found.flipped[part].sum()),
            "vote_flips": int((found.label & (found.gaps <= VOTES))[part].sum()),
            "outside": int(found.outside[part].sum()),
            "max_abs": max((float(n.absolute[part].max(initial=0)) for n in found.numbers.values()), default=0.0),
            "max_rel": max((float(n.relative[part].max(initial=0)) for n in found.numbers.values()), default=0.0),
        }

    def variant(self, scored: dict[str, Any], variant: dict[str, Any]) -> dict[str, Any]:
        """One variant's line: against the original, on strict rows, and against the first variant."""
        line = {key: variant[key] for key in ("threads", "batch", "rows")}
        found = self.compared(variant)
        keep = found.strict
        counted = {
            "label_mismatches": int((found.mismatched & keep).sum()),
            "flipped": int((found.flipped & keep).sum()),
            "outside": int((found.outside & keep).sum()),
            "max_abs": max((float(n.absolute[keep].max(initial=0)) for n in found.numbers.values()), default=0.0),
        }
        return {"runtime": scored["runtime"], **line, **counted, "other_labels": int((found.unsteady & keep).sum())}

    def worst(self, first: Compared) -> list[dict[str, Any]]:
        """The worst rows of `first`; if nothing is wrong there, those of the first variant in which something is."""
        every = [(scored["runtime"], variant) for scored in self.job["scored"] for variant in scored["variants"]]
        for runtime, variant in [(self.job["scored"][0]["runtime"], self.baseline), *every]:
            found = first if variant is self.baseline else self.compared(variant)
            if (found.wrong & found.strict).any():
                told = {"runtime": runtime, "threads": variant["threads"], "batch": variant["batch"]}
                return [{**row, "variant": told} for row in worst_rows(self.table, self.job, found)]
        return [{**row, "variant": None} for row in worst_rows(self.table, self.job, first)]

    def _labels_of_first(self) -> Table:
        """The first variant's rows and labels."""
        names = [output["name"] for output in self.job["outputs"] if output["meaning"] == "label"]
        if self._first_labels is None and self.baseline["file"]:
            table = read_table(Path(self.baseline["file"]))
            self._first_labels = Table({name: table[name] for name in ["row", *names]})
        return self._first_labels or Table({})

    def reasons(self, groups: list[dict[str, Any]], variants: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Why it fails, the gravest first; nothing when it passes."""
        strict = [group for group in groups if group["strict"]]
        checks = (
            ("shape", self._shapes()),
            ("labels", _told(strict, "label_mismatches", "have another label")),
            ("numbers", _told(strict, "outside", "have numbers out of tolerance")),
            ("ties", _told(strict, "vote_flips", "are votes tied in the original and decided otherwise")),
            ("unscored", _told(strict, "unscored", "are scored by the original and refused by the model in ONNX")),
            ("variants", _unsteady(variants, next((v for v in variants if v["batch"] == "all"), variants[0]))),
            ("nothing", self._nothing(groups)),
        )
        return [{"code": code, "message": message} for code, message in checks if message]

    def _shapes(self) -> str:
        said = [p["message"] for scored in self.job["scored"] for p in scored["problems"] if p["kind"] != "empty"]
        return "; ".join(dict.fromkeys(said + self.compared(self.baseline).misshapen))

    def _nothing(self, groups: list[dict[str, Any]]) -> str:
        sample = next((group for group in groups if group["name"] == "sample"), groups[0])
        return "" if sample["compared"] else f"of the {sample['rows']:,} rows of the sample none could be compared"


def _file_digest(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _told(groups: list[dict[str, Any]], key: str, what: str) -> str:
    bad = [f"{group[key]:,} of {group['rows']:,} rows ({group['name']})" for group in groups if group[key]]
    return f"{', '.join(bad)} {what}" if bad else ""


def _unsteady(variants: list[dict[str, Any]], first: dict[str, Any]) -> str:
    """The first variant that says otherwise than `first`."""
    for variant in variants:
        name = f"{variant['threads']} threads, batch {variant['batch']}, onnxruntime {variant['runtime']}"
        if variant["other_labels"]:
            return f"{variant['other_labels']:,} of {variant['rows']:,} rows get another label with {name}"
        wrong = max(variant["outside"], variant["label_mismatches"])
        if wrong and not max(first["outside"], first["label_mismatches"]):
            return f"{wrong:,} of {variant['rows']:,} rows differ from the original with {name}"
    return ""
