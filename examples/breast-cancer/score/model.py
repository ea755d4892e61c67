"""The model and what it takes and gives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnxruntime
import pandas as pd


class InputError(Exception):
    """The CSV is not what the model takes."""


class Scorer:
    """An ONNX model that knows its feature names and classes: `train.py` wrote them into it."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the model is tiny; more threads only cost
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        self.features: list[str] = json.loads(facts["features"])
        self.classes: list[str] = json.loads(facts["classes"])

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Scorer:
        """The model that MODEL names, else `model.onnx` beside this package."""
        return cls(Path(environ.get("MODEL") or Path(__file__).parent.parent / "model.onnx"))

    def matrix(self, table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The features of `table`, in the model's order; other columns are ignored. Raises InputError."""
        if missing := [name for name in self.features if name not in table.columns]:
            raise InputError(f"columns are missing: {', '.join(missing)}")
        for name in self.features:
            bad = pd.to_numeric(table[name], errors="coerce").isna()
            if bad.any():
                row = int(bad.to_numpy().argmax())
                raise InputError(f"row {row}: {name} is missing or not a number")
        return table[self.features].to_numpy(dtype=np.float32)

    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        """One row for each of `table`: its number, the class, the probability of the first class."""
        matrix = self.matrix(table)
        labels, probabilities = np.empty(0, dtype=np.int64), np.empty((0, len(self.classes)), dtype=np.float32)
        if len(matrix):
            labels, probabilities = self.session.run(["label", "probabilities"], {"features": matrix})
        return pd.DataFrame(
            {
                "row": np.arange(len(matrix)),
                "prediction": [self.classes[label] for label in labels],
                f"p_{self.classes[0]}": probabilities[:, 0],
            }
        )


def read_csv(source: str | IO[str]) -> pd.DataFrame:
    """A CSV file, or an open stream. Raises InputError when it is none."""
    try:
        return pd.read_csv(source)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"not a CSV file: {error}") from error


def write_csv(predictions: pd.DataFrame, target: str | IO[str]) -> None:
    """Probabilities with six digits: more is noise of the processor."""
    predictions.to_csv(target, index=False, float_format="%.6f", lineterminator="\n")
