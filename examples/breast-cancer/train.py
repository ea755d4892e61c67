"""Trains the model and writes `model.onnx`, `data/train.csv` and `data/holdout.csv`.

The data is scikit-learn's copy of the Breast Cancer Wisconsin (Diagnostic) set: 569 biopsies, 30 measurements each.
Needs requirements.in and requirements-train.in. Run it again and the files come out the same, up to the last digits
that the processor's linear algebra decides.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from onnx import ModelProto
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
CLASSES = ["malignant", "benign"]


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and holdout rows: the features and the column `diagnosis`."""
    data = load_breast_cancer(as_frame=True)
    table = data.data.assign(diagnosis=[CLASSES[target] for target in data.target])
    train, holdout = train_test_split(table, test_size=0.2, random_state=20, stratify=table["diagnosis"])
    return train.sort_index(), holdout.sort_index()


def fit(train: pd.DataFrame) -> Pipeline:
    """Scaling belongs to the model: a scaler that stays behind in a notebook is a wrong score in production."""
    features = train.drop(columns="diagnosis")
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        features.to_numpy(), train["diagnosis"].map(CLASSES.index)
    )


def export(model: Pipeline, features: list[str]) -> ModelProto:
    """The pipeline as ONNX: opset 18 and IR version 8, which onnxruntime reads since 1.14."""
    onnx = to_onnx(
        model,
        initial_types=[("features", FloatTensorType([None, len(features)]))],
        name="breast-cancer",  # skl2onnx would take a random name
        target_opset={"": 18, "ai.onnx.ml": 3},
        options={"zipmap": False},  # plain tensors, not a sequence of maps
    )
    onnx.ir_version = 8
    for key, value in (("classes", CLASSES), ("features", features)):
        fact = onnx.metadata_props.add()
        fact.key, fact.value = key, json.dumps(value)
    return onnx


def main(folder: Path = HERE) -> None:
    """Train, and write everything into `folder`."""
    train, holdout = split()
    features = [name for name in train.columns if name != "diagnosis"]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    train.to_csv(folder / "data/train.csv", index=False, lineterminator="\n")
    holdout.to_csv(folder / "data/holdout.csv", index=False, lineterminator="\n")
    onnx = export(fit(train), features)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
