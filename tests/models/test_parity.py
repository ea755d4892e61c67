from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from builder.errors import ModelError
from builder.models import plots
from builder.models.parity import Bin, Histogram, Parity, Scatter, amount, failure, page
from tests.support.gate import Gate, naive


def document(gate: Gate, name: str) -> dict[str, Any]:
    """A report as `lockship convert` writes it."""
    verdict = gate.run()
    first = None if verdict["passed"] else gate.first_difference()
    steps = [{"path": "pipeline", "class": "sklearn.pipeline.Pipeline", "status": "ok", "code": "ok", "message": ""}]
    return {
        "schema": "dev.lockship.parity/v1",
        "model": name,
        "passed": verdict["passed"],
        "made_from": {"model": "sha256:" + "ab" * 32},
        "explained": {"steps": steps, "kind": "classifier"},
        "applied": [{"code": "zipmap", "message": "maps are tensors"}],
        "limits": ["what the conversion can't promise"],
        "runtimes": [{"consumer": "java-1.17", "version": verdict["runtimes"][0], "notice": "no wheel for it here"}],
        "first_difference": first,
        "isolation": "network namespace",
        "verdict": verdict,
    }


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data, target = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(8, random_state=0)).fit(data, target)
    return document(Gate(tmp_path_factory.mktemp("failed"), model, naive(model, data), data), "<churn & more>")


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data, target = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), Ridge()).fit(data, target)
    return document(Gate(tmp_path_factory.mktemp("passed"), model, naive(model, data), data), "diabetes")


class Page(HTMLParser):
    """Checks that elements close in order, and keeps what the page says and asks for."""

    void = frozenset({"meta", "br", "line", "rect", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.mark.parametrize("which", ["passed", "failed"])
def test_the_page_needs_nothing_else(which: str, request: pytest.FixtureRequest) -> None:
    text = page(request.getfixturevalue(which))
    read = Page(text)
    assert read.links == []
    assert "script" not in read.seen
    assert not re.search(r"https?://|@import|url\(", text)
    assert read.seen.count("svg") == 2
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_of_a_failure_says_why_and_what_helps(failed: dict[str, Any]) -> None:
    read = Page(page(failed))
    assert "Scores differently" in read.text
    assert "<churn & more>" in read.text
    for reason in failed["verdict"]["reasons"]:
        assert reason["message"] in read.text
    assert failed["first_difference"]["step"] in read.text
    assert 'precision = "double+cast"' in read.text
    assert "what the conversion can't promise" in read.text
    assert "no wheel for it here" in read.text
    assert failed["verdict"]["digests"]["rows"] in read.text
    assert read.seen.count("details") == len(failed["verdict"]["worst"])


def test_the_page_of_a_success(passed: dict[str, Any]) -> None:
    read = Page(page(passed))
    assert "Scores the same" in read.text
    assert "Why it failed" not in read.text
    for group in passed["verdict"]["groups"]:
        assert group["why"] in read.text


def test_the_same_report_gives_the_same_page(failed: dict[str, Any]) -> None:
    read_back = json.loads(json.dumps(failed))
    assert page(failed) == page(read_back)


def test_a_report_has_no_times(failed: dict[str, Any]) -> None:
    text = json.dumps(failed["verdict"])
    assert "latency" not in text
    assert "seconds" not in text


def test_the_same_gate_gives_the_same_verdict(tmp_path: Path, failed: dict[str, Any]) -> None:
    data, target = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(8, random_state=0)).fit(data, target)
    again = document(Gate(tmp_path, model, naive(model, data), data), "<churn & more>")
    ours, theirs = again["verdict"], failed["verdict"]
    del ours["digests"]["model"], theirs["digests"]["model"]  # skl2onnx's own bytes differ; convert's are canonical
    assert ours == theirs


def test_a_failure_in_words(failed: dict[str, Any]) -> None:
    error = failure("churn", Path("churn.parity.html"), failed)
    assert isinstance(error, ModelError)
    assert error.exit_code == 4
    lines = error.message.splitlines()
    assert lines[0] == "the model churn scores differently in ONNX:"
    assert any("out of tolerance" in line for line in lines)
    assert sum(line.startswith("  row ") for line in lines) == 3
    assert any("expected [" in line and "got [" in line for line in lines)
    assert lines[-1].startswith("  the first step that differs: pipeline/randomforestclassifier: its output is off")
    assert max(map(len, lines)) < 500
    assert error.hint is not None
    assert error.hint.endswith("the report is churn.parity.html")


def test_values_are_frozen(passed: dict[str, Any]) -> None:
    parity = Parity.of(passed)
    with pytest.raises(ValueError, match="frozen"):
        parity.model = "other"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (3.4567e-7, "3.5e-7"), (1234.5, "1.2e+03"), (1e-12, "1e-12")]
)
def test_amounts(value: float, text: str) -> None:
    assert amount(value) == text


def test_bars_are_as_high_as_their_rows_are_many() -> None:
    rows = {-8: (10, 0), -6: (1000, 0), -3: (4, 4)}
    bins = [
        Bin(exponent=power, rows=rows.get(power, (0, 0))[0], outside=rows.get(power, (0, 0))[1])
        for power in range(-17, 3)
    ]
    drawn = plots.bars(Histogram(output="p", exact=50, not_finite=1, bins=tuple(bins)), 1e-5)
    heights = {bar.label: bar.good + bar.wrong for bar in drawn.bars}
    assert heights["10⁻⁶"] > heights["0"] > heights["10⁻⁸"] > heights["10⁻³"] > heights["NaN, ∞"] > 0
    red = [bar.label for bar in drawn.bars if bar.wrong]
    assert red == ["10⁻³", "NaN, ∞"]
    right = next(bar for bar in drawn.bars if bar.label == "10⁻³")
    assert drawn.tolerance is not None
    assert drawn.bars[3].x < drawn.tolerance < right.x


def test_points_that_agree_lie_on_the_diagonal() -> None:
    shown = plots.cloud(Scatter(output="v", column=0, rows=3, points=((1.0, 1.0, False), (5.0, 5.0, False))))
    assert shown is not None
    for point in shown.points:
        across = (point.x - plots.LEFT) / (plots.WIDTH - plots.LEFT - plots.RIGHT)
        upwards = (plots.HEIGHT - plots.BOTTOM - point.y) / (plots.HEIGHT - plots.TOP - plots.BOTTOM)
        assert across == pytest.approx(upwards, abs=0.002)
    assert 3 <= len(shown.x_ticks) <= 8
    assert plots.cloud(Scatter(output="v", column=0, rows=0, points=())) is None
    one = plots.cloud(Scatter(output="v", column=0, rows=1, points=((7.0, 7.0, True),)))
    assert one is not None
    assert one.x_ticks
