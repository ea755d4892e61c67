from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.models.inside import compare
from builder.models.inside.table import Table, write_table

ROWS = 40
RNG = np.random.default_rng(0)


class Scores:
    """A gate over 40 rows, whose scores a test changes before the verdict; the last ten are beyond the contract."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        share = RNG.uniform(0.6, 0.9, ROWS) * np.where(np.arange(ROWS) % 2, 1, 0)
        share = np.where(share == 0, 0.2, share)
        self.expected = {"label": (share > 0.5).astype(np.int64), "probabilities": np.stack([1 - share, share], axis=1)}
        self.got = {name: values.copy() for name, values in self.expected.items()}
        self.got["probabilities"] = self.got["probabilities"].astype(np.float32)
        self.others: dict[int, dict[str, Any]] = {}
        self.refused: list[int] = []
        self.unscored: list[int] = []
        self.newer_unscored: list[int] = []  # under a second runtime
        self.problems: list[dict[str, str]] = []
        self.label = "int64"

    def verdict(self) -> dict[str, Any]:
        rows = np.arange(ROWS)
        (self.folder / "model.onnx").write_bytes(b"")
        write_table(self.folder / "rows.npz", Table({"x": rows / 7, "t": np.array(["é"] * ROWS, dtype=object)}))
        kept = np.setdiff1d(rows, self.refused)
        reference = self._write("reference", kept, self.expected)
        scored = np.setdiff1d(rows, self.unscored)
        variants: list[dict[str, Any]] = []
        for threads in (1, 2):
            got = {**self.got, **self.others.get(threads, {})}
            file = self._write(f"scored-{threads}", scored, got)
            variants.append({"threads": threads, "batch": "all", "rows": len(scored), "file": file})
        job: dict[str, Any] = {
            "folder": str(self.folder),
            "onnx": str(self.folder / "model.onnx"),
            "rows": str(self.folder / "rows.npz"),
            "groups": [
                {"name": "sample", "start": 0, "stop": 30, "strict": True, "why": "given"},
                {"name": "far out", "start": 30, "stop": 40, "strict": False, "why": "made"},
            ],
            "inputs": [
                {"name": "x", "type": "float32", "features": [{"name": "x"}]},
                {"name": "t", "type": "string", "features": [{"name": "t"}]},
            ],
            "outputs": [
                {"name": "label", "type": self.label, "meaning": "label", "width": None, "classes": [0, 1]},
                {"name": "probabilities", "type": "float32", "meaning": "probabilities", "width": 2, "classes": [0, 1]},
            ],
            "precision": "float32",
            "tolerance": {"absolute": 1e-5, "relative": 1e-5},
            "reference": {
                "file": reference,
                "refused": self.refused,
                "skipped": [],
                "messages": [{"message": "ValueError: no. Not at all.", "rows": self.refused}] if self.refused else [],
                "versions": {"python": "3.11.7"},
            },
            "scored": [
                {
                    "runtime": "1.14.1",
                    "variants": variants,
                    "refused": self.unscored,
                    "skipped": [],
                    "problems": self.problems,
                },
            ],
        }
        if self.newer_unscored:
            file = self._write("scored-newer", np.setdiff1d(rows, self.newer_unscored), self.got)
            newer = {"threads": 1, "batch": "all", "rows": ROWS - len(self.newer_unscored), "file": file}
            job["scored"].append(
                {
                    "runtime": "1.20.1",
                    "variants": [newer],
                    "refused": self.newer_unscored,
                    "skipped": [],
                    "problems": [],
                }
            )
        return compare.run(job)

    def _write(self, name: str, rows: Any, scores: dict[str, Any]) -> str:
        file = self.folder / f"{name}.npz"
        write_table(file, Table({"row": rows, **{output: values[rows] for output, values in scores.items()}}))
        return str(file)


@pytest.fixture
def scores(tmp_path: Path) -> Scores:
    return Scores(tmp_path)


def codes(verdict: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in verdict["reasons"]]


def test_what_is_the_same_passes(scores: Scores) -> None:
    verdict = scores.verdict()
    assert verdict["passed"]
    assert verdict["groups"][0]["compared"] == 30
    assert verdict["groups"][0]["max_abs"] < 1e-7
    json.dumps(verdict, allow_nan=False)


def test_another_label_fails(scores: Scores) -> None:
    scores.got["label"][3] = 0
    verdict = scores.verdict()
    assert codes(verdict) == ["labels"]
    assert verdict["reasons"][0]["message"] == "1 of 30 rows (sample) have another label"
    worst = verdict["worst"][0]
    assert (worst["row"], worst["why"], worst["inputs"]["t"]) == (3, "label", "é")
    assert worst["outputs"]["label"] == {"expected": 1, "got": 0}


def test_a_number_out_of_tolerance_fails(scores: Scores) -> None:
    scores.got["probabilities"][4, 1] += 1e-4
    verdict = scores.verdict()
    assert codes(verdict) == ["numbers"]
    assert verdict["worst"][0]["row"] == 4
    histogram = verdict["plots"]["histogram"][0]
    assert sum(one["outside"] for one in histogram["bins"]) == 1
    assert sum(one["rows"] for one in histogram["bins"]) + histogram["exact"] == 30
    assert [point[2] for point in verdict["plots"]["scatter"][0]["points"]].count(True) == 1


def test_nan_for_a_number_fails_and_nan_for_nan_does_not(scores: Scores) -> None:
    scores.expected["probabilities"][5] = scores.got["probabilities"][5] = np.nan
    assert scores.verdict()["passed"]
    scores.got["probabilities"][6] = np.nan
    verdict = scores.verdict()
    assert codes(verdict) == ["numbers"]
    assert verdict["worst"][0]["outputs"]["probabilities"]["got"] == ["NaN", "NaN"]
    assert verdict["plots"]["histogram"][0]["not_finite"] == 1
    json.dumps(verdict, allow_nan=False)


def test_rows_beyond_the_contract_are_limits(scores: Scores) -> None:
    scores.got["label"][35] ^= 1
    verdict = scores.verdict()
    assert verdict["passed"]
    assert [limit["code"] for limit in verdict["limits"] if limit["code"] != "float32"] == ["outside-the-contract"]
    assert not [row for row in verdict["worst"] if row["wrong"]]


@pytest.mark.parametrize(("gap", "failing"), [(0.0, True), (2e-7, False)])
def test_ties_that_are_decided_otherwise(scores: Scores, gap: float, failing: bool) -> None:
    """Equal votes have an order; what only float32 can't tell apart has none."""
    scores.expected["probabilities"][8] = [0.5 + gap, 0.5 - gap]
    scores.got["probabilities"][8] = [0.5, 0.5]
    scores.expected["label"][8], scores.got["label"][8] = 0, 1
    verdict = scores.verdict()
    assert codes(verdict) == (["ties"] if failing else [])
    group = verdict["groups"][0]
    assert (group["ties"], group["flipped"], group["label_mismatches"]) == (1, 1, 0)
    assert "ties" in [limit["code"] for limit in verdict["limits"]]


def test_a_tie_has_to_come_out_the_same_on_every_thread(scores: Scores) -> None:
    gap = 2e-7
    scores.expected["probabilities"][8] = [0.5 + gap, 0.5 - gap]
    scores.got["probabilities"][8] = [0.5, 0.5]
    scores.expected["label"][8] = scores.got["label"][8] = 0
    other = scores.got["label"].copy()
    other[8] = 1
    scores.others[2] = {"label": other}
    verdict = scores.verdict()
    assert codes(verdict) == ["variants"]
    assert "2 threads" in verdict["reasons"][0]["message"]
    assert (verdict["worst"][0]["row"], verdict["worst"][0]["variant"]["threads"]) == (8, 2)


def test_numbers_that_only_some_threads_get_right(scores: Scores) -> None:
    other = scores.got["probabilities"].copy()
    other[2] += 0.01
    scores.others[2] = {"probabilities": other}
    verdict = scores.verdict()
    assert codes(verdict) == ["variants"]
    assert verdict["worst"][0]["row"] == 2


def test_rows_that_the_original_refuses_are_told(scores: Scores) -> None:
    scores.refused = [10, 32]
    verdict = scores.verdict()
    assert verdict["passed"]
    assert verdict["groups"][0]["refused"] == 1
    assert verdict["limits"][0]["message"] == (
        "2 rows (sample, far out) are refused by the original: “ValueError: no”. The model in ONNX scores them."
    )


def test_rows_that_only_onnx_refuses_fail(scores: Scores) -> None:
    scores.unscored, scores.refused = [11, 12], [12]
    verdict = scores.verdict()
    assert codes(verdict) == ["unscored"]
    assert verdict["groups"][0]["unscored"] == 1


def test_rows_that_only_one_of_several_runtimes_refuses_fail(scores: Scores) -> None:
    scores.newer_unscored, scores.refused = [11, 12], [12]
    verdict = scores.verdict()
    assert codes(verdict) == ["unscored"]
    assert verdict["groups"][0]["unscored"] == 1


def test_nothing_compared_is_no_pass(scores: Scores) -> None:
    scores.refused = list(range(30))
    assert codes(scores.verdict()) == ["nothing"]


def test_untrue_shapes_fail_and_empty_batches_do_not(scores: Scores) -> None:
    scores.problems = [{"kind": "empty", "message": "a batch of 0 rows fails: no."}]
    verdict = scores.verdict()
    assert verdict["passed"]
    assert "a batch of 0 rows fails: no. Don't pass it empty batches." in [one["message"] for one in verdict["limits"]]
    scores.problems.append({"kind": "shape", "message": "output label describes its shape as [1]"})
    assert codes(scores.verdict()) == ["shape"]


def test_an_output_of_another_width_fails(scores: Scores) -> None:
    scores.got["probabilities"] = np.zeros((ROWS, 3), dtype=np.float32)
    verdict = scores.verdict()
    assert codes(verdict) == ["shape"]
    assert "[30, 2]" in verdict["reasons"][0]["message"] or "[40, 2]" in verdict["reasons"][0]["message"]


def test_text_labels(scores: Scores) -> None:
    names = np.array(["no", "ja", "naïve"], dtype=object)
    scores.label = "string"
    scores.expected["label"] = names[scores.expected["label"]]
    scores.got["label"] = names[scores.got["label"]]
    verdict = scores.verdict()
    assert verdict["passed"]
    scores.got["label"][1] = "naïve"
    assert codes(scores.verdict()) == ["labels"]


def test_golden_rows_are_the_originals_scores_of_the_sample(scores: Scores) -> None:
    golden = scores.verdict()["golden"]
    assert golden["rows"][0] == 0
    assert len(golden["rows"]) == 10
    assert golden["inputs"]["x"][1] == [float(np.float32(golden["rows"][1] / 7))]
    assert golden["outputs"]["probabilities"][2] == scores.expected["probabilities"][golden["rows"][2]].tolist()
    assert golden["outputs"]["label"][0] == [0]


def test_numbers_that_float32_rounds_are_told(scores: Scores) -> None:
    told = [limit["message"] for limit in scores.verdict()["limits"] if limit["code"] == "float32"]
    assert told
    assert "of 30 rows of the sample hold numbers that float32 rounds (1 columns, 'x' for one)" in told[0]


def test_the_same_verdict_each_time(scores: Scores) -> None:
    scores.got["label"][3] = 0
    assert json.dumps(scores.verdict()) == json.dumps(scores.verdict())
