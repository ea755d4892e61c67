"""Small contracts written by hand, for tests that render and don't score: the model behind them is only bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from builder.models.contract import Contract, Feature, Golden, Input, Output, Runtime, Scalar, Sources, Tolerance

__all__ = ["MODEL", "contract_of", "small"]

MODEL: Final = b"not really a model " * 10


def small(**changes: Any) -> Contract:
    """A classifier with a number that may be missing, a whole number and a text."""
    inputs = (
        Input(name="age", type="float32", features=(Feature(name="age", missing="nan", unit="years"),)),
        Input(name="visits", type="int64", features=(Feature(name="visits"),)),
        Input(name="plan", type="string", features=(
            Feature(name="plan", categories=("basic", "full"), unseen="refused", description="What was booked."),)),
    )  # fmt: skip
    outputs = (
        Output(name="label", type="string", meaning="label", classes=("no", "yes")),
        Output(name="probabilities", type="float32", meaning="probabilities", width=2, classes=("no", "yes")),
    )
    rows = [[(0.1,), (3,), ("basic",)], [("NaN",), (4,), ("full",)]]
    scores = [[("no",), (0.75, 0.25)], [("yes",), (0.125, 0.875)]]
    return contract_of(inputs, outputs, rows, scores, **changes)


def contract_of(
    inputs: tuple[Input, ...],
    outputs: tuple[Output, ...],
    rows: Sequence[Sequence[tuple[Scalar, ...]]],
    scores: Sequence[Sequence[tuple[Scalar, ...]]],
    **changes: Any,
) -> Contract:
    """A contract of `MODEL`; `rows` and `scores` are golden: row by row, one tuple of cells for each tensor."""
    golden = Golden(
        inputs={one.name: tuple(row[index] for row in rows) for index, one in enumerate(inputs)},
        outputs={one.name: tuple(row[index] for row in scores) for index, one in enumerate(outputs)},
    )
    values: dict[str, Any] = {
        "name": "churn",
        "version": "1.4.0",
        "digest": f"sha256:{hashlib.sha256(MODEL).hexdigest()}",
        "size": len(MODEL),
        "runtime": Runtime(opset=17, ml_opset=3, ir=8, minimum="1.14", consumers=("dotnet-1.20", "java-1.17")),
        "inputs": inputs,
        "outputs": outputs,
        "tolerance": Tolerance(absolute=1e-5, relative=1e-4),
        "sources": Sources(commit="0123456789abcdef0123456789abcdef01234567"),
        "golden": golden,
    }
    return Contract(**(values | changes))
