"""Real models with their contracts, for tests of the packages made from them: trained and converted when asked for."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from builder.models.contract import (
    Contract,
    Feature,
    Golden,
    Input,
    Output,
    Runtime,
    Scalar,
    Sources,
    TensorType,
    Tolerance,
    from_scalar,
    to_scalar,
)

__all__ = ["MODELS", "Trained", "churn", "diabetes", "golden_rows", "wine"]

Tensors = Mapping[str, np.ndarray]
"""By the name of the tensor: `[rows, features]` going in; `[rows]` or `[rows, width]` coming out."""

GOLDEN_ROWS: Final = 10
_DTYPES: Final[dict[TensorType, Any]] = {
    "float32": np.float32,
    "float64": np.float64,
    "int64": np.int64,
    "string": object,
    "bool": np.bool_,
}


@dataclass(frozen=True)
class Trained:
    """A model's bytes and contract, and where rows for it come from."""

    contract: Contract
    model: bytes
    draw: Callable[[int, int], Tensors]
    """`draw(count, seed)`: rows that the model takes, some of them with missing values where it takes those."""

    def scores(self, inputs: Tensors) -> Tensors:
        """What onnxruntime says in Python."""
        return _run(self.model, [output.name for output in self.contract.outputs], inputs)

    def write(self, folder: Path) -> Path:
        """Write ``NAME.onnx`` and ``NAME.contract.json`` as `lockship convert` does; the contract's path."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.contract.name}.onnx").write_bytes(self.model)
        file = folder / f"{self.contract.name}.contract.json"
        file.write_bytes(self.contract.to_json())
        return file


def golden_rows(contract: Contract, count: int) -> Tensors:
    """The rows of a contract, over and over."""
    found = {}
    for tensor in contract.inputs:
        rows = [[from_scalar(cell, tensor.type) for cell in row] for row in contract.golden.inputs[tensor.name]]
        found[tensor.name] = np.array([rows[number % len(rows)] for number in range(count)], _DTYPES[tensor.type])
    return found


@cache
def churn() -> Trained:
    """A classifier of a table: numbers with and without gaps, a whole number, a flag, texts; the labels are texts."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def frame(tensors: Tensors) -> Any:
        return pd.DataFrame(
            {feature.name: tensors[tensor.name][:, 0] for tensor, feature in zip(inputs, features, strict=True)}
        )

    inputs = (
        Input(name="tenure", type="float32", features=(
            Feature(name="tenure", missing="nan", minimum=0, maximum=72, unit="months", description="Since when."),)),
        Input(name="Monthly_Charges", type="float32", features=(
            Feature(name="Monthly Charges", minimum=18, maximum=120, unit="EUR"),)),
        Input(name="visits", type="int64", features=(Feature(name="visits", minimum=0, maximum=30),)),
        Input(name="paperless", type="bool", features=(Feature(name="paperless"),)),
        Input(name="contract", type="string", features=(
            Feature(name="contract", missing="empty", categories=("Month-to-month", "One year", "Two year"),
                    unseen="ignored"),)),
        Input(name="payment", type="string", features=(
            Feature(name="payment", categories=("Überweisung", "card", "check"), unseen="refused"),)),
    )  # fmt: skip
    features = [one.features[0] for one in inputs]
    training = _draw_churn(2000, 1)
    table = frame(training)
    risk = table["Monthly Charges"] / 60 - table["tenure"].fillna(30) / 40 + (table["contract"] == "Month-to-month")
    label = np.where(risk + np.random.default_rng(2).normal(0, 0.6, len(table)) > 1, "leaves", "stays")
    numbers = ["tenure", "Monthly Charges", "visits"]
    model = make_pipeline(
        ColumnTransformer([
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("flags", "passthrough", ["paperless"]),
            ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["contract", "payment"]),
        ]),
        GradientBoostingClassifier(n_estimators=60, random_state=0),
    ).fit(table, label)  # fmt: skip
    # a tensor is named by its column, made an identifier: by skl2onnx's own rule here
    converted = _convert(model, [(one.features[0].name, one.type, 1) for one in inputs])
    outputs = (
        Output(name="label", type="string", meaning="label", classes=("leaves", "stays")),
        Output(name="probabilities", type="float32", meaning="probabilities", width=2, classes=("leaves", "stays")),
    )
    golden = _draw_churn(GOLDEN_ROWS, 3)
    expected = (model.predict(frame(golden)), model.predict_proba(frame(golden)))
    contract = _contract("churn", "1.4.0", converted, inputs, outputs, golden, expected, "Who leaves within a month.")
    return Trained(contract, converted, _draw_churn)


@cache
def diabetes() -> Trained:
    """A regression on scikit-learn's diabetes data: one array, ten columns."""
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor

    data = load_diabetes(scaled=False)
    rows = data.data.astype(np.float32)
    model = RandomForestRegressor(n_estimators=32, random_state=0).fit(rows, data.target)
    inputs = (_array(data.feature_names, rows),)
    outputs = (Output(name="variable", type="float32", meaning="value", width=1),)
    return _of_array("diabetes", model, rows, inputs, outputs, lambda some: (model.predict(some)[:, None],))


@cache
def wine() -> Trained:
    """Three classes of scikit-learn's wine data: one array, thirteen columns; the labels are numbers."""
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_wine()
    rows = data.data.astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, data.target)
    inputs = (_array(data.feature_names, rows),)
    outputs = (
        Output(name="label", type="int64", meaning="label", classes=(0, 1, 2)),
        Output(name="probabilities", type="float32", meaning="probabilities", width=3, classes=(0, 1, 2)),
    )
    return _of_array(
        "wine", model, rows, inputs, outputs, lambda some: (model.predict(some), model.predict_proba(some))
    )


MODELS: Final[Mapping[str, Callable[[], Trained]]] = {"churn": churn, "diabetes": diabetes, "wine": wine}


def _draw_churn(count: int, seed: int) -> Tensors:
    random = np.random.default_rng(seed)
    tenure = random.integers(0, 72, count).astype(np.float32)
    tenure[random.random(count) < 0.1] = np.nan
    # two are no categories of the model: one is a gap, the other was never seen
    contracts = ["Month-to-month", "One year", "Two year"] + ([] if seed == 1 else ["", "Zwei Jahre 🙂"])
    columns: dict[str, Any] = {
        "tenure": tenure,
        "Monthly_Charges": np.round(random.uniform(18, 120, count), 2).astype(np.float32),
        "visits": random.integers(0, 30, count),
        "paperless": random.random(count) < 0.4,
        "contract": random.choice(contracts, count).astype(object),
        "payment": random.choice(["Überweisung", "card", "check"], count).astype(object),
    }
    return {name: column.reshape(-1, 1) for name, column in columns.items()}


def _array(names: Sequence[str], rows: np.ndarray) -> Input:
    """One tensor of all columns."""
    bounds = zip(names, rows.min(axis=0), rows.max(axis=0), strict=True)
    features = tuple(Feature(name=name, minimum=float(low), maximum=float(high)) for name, low, high in bounds)
    return Input(name="features", type="float32", features=features)


def _of_array(
    name: str,
    model: Any,
    rows: np.ndarray,
    inputs: tuple[Input, ...],
    outputs: tuple[Output, ...],
    original: Callable[[np.ndarray], Sequence[np.ndarray]],
) -> Trained:
    def draw(count: int, seed: int) -> Tensors:
        random = np.random.default_rng(seed)
        drawn = rows[random.integers(0, len(rows), count)]
        return {"features": (drawn * random.uniform(0.8, 1.2, drawn.shape)).astype(np.float32)}

    converted = _convert(model, [("features", "float32", rows.shape[1])])
    golden = draw(GOLDEN_ROWS, 3)
    contract = _contract(name, "2.0.0", converted, inputs, outputs, golden, original(golden["features"]), None)
    return Trained(contract, converted, draw)


def _convert(model: Any, columns: Sequence[tuple[str, TensorType, int]]) -> bytes:
    """The model for onnxruntime 1.14, from its columns: name, type and width."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from skl2onnx import to_onnx
        from skl2onnx.common import data_types

        kinds = {"float32": "Float", "int64": "Int64", "string": "String", "bool": "Boolean"}
        types = [
            (name, getattr(data_types, f"{kinds[kind]}TensorType")([None, width])) for name, kind, width in columns
        ]
        options = {"zipmap": False} if hasattr(model, "classes_") else None
        made = to_onnx(model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3}, options=options)
    made.ir_version = 8
    return bytes(made.SerializeToString(deterministic=True))


def _contract(
    name: str,
    version: str,
    model: bytes,
    inputs: tuple[Input, ...],
    outputs: tuple[Output, ...],
    rows: Tensors,
    expected: Sequence[np.ndarray],
    description: str | None,
) -> Contract:
    digest = f"sha256:{hashlib.sha256(model).hexdigest()}"
    golden = Golden(
        inputs={one.name: _cells(rows[one.name]) for one in inputs},
        outputs={one.name: _cells(cells) for one, cells in zip(outputs, expected, strict=True)},
    )
    return Contract(
        name=name,
        version=version,
        description=description,
        digest=digest,
        size=len(model),
        runtime=Runtime(opset=17, ml_opset=3, ir=8, minimum="1.14", consumers=("dotnet-1.20", "java-1.17")),
        inputs=inputs,
        outputs=outputs,
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        sources=Sources(commit="0" * 40),
        golden=golden,
    )


def _cells(array: np.ndarray) -> tuple[tuple[Scalar, ...], ...]:
    rows = array if array.ndim == 2 else array[:, None]
    return tuple(tuple(to_scalar(cell) for cell in row) for row in rows.tolist())


def _run(model: bytes, names: Sequence[str], inputs: Tensors) -> Tensors:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))
