"""Rows per second of a model as it was trained, and of its ONNX, in the project's own environment: a program there.

Arguments: the model (.skops), the ONNX, the sample (.csv), columns that are no input, types that skops may trust,
seconds, rounds, batch sizes. Prints JSON: ``{"original": {size: [rows per second, …]}, "onnx": {…}}``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def rates(score: Callable[[Any], Any], rows: Any, seconds: float, rounds: int) -> list[float]:
    """Rows per second of each round, after half a round of warming up."""
    found = []
    for number in range(rounds + 1):
        limit = seconds if number else seconds / 2
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < limit:
            score(rows)
            count += 1
        found.append(count * len(rows) / (time.perf_counter() - start))
    return found[1:]


def main(words: list[str]) -> None:
    """Measure and print."""
    import numpy as np
    import onnxruntime
    import pandas as pd
    import skops.io

    source, onnx, sample, drop, trusted, seconds, rounds, *sizes = words
    model = skops.io.load(source, trusted=trusted.split(",") if trusted else [])
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    table = pd.read_csv(sample, keep_default_na=True).drop(columns=[one for one in drop.split(",") if one])
    for name in table.columns:
        if table[name].dtype.kind not in "fib":
            table[name] = table[name].fillna("")
    types = {"float": np.float32, "double": np.float64, "int64": np.int64, "string": object}
    by_name = {"".join(c if c.isalnum() else "_" for c in name): name for name in table.columns}

    def tensors(frame: Any) -> dict[str, Any]:
        return {
            one.name: frame[by_name[one.name]].to_numpy().astype(types[one.type[7:-1]]).reshape(-1, 1)
            for one in session.get_inputs()
        }

    predict = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    answer: dict[str, dict[str, list[float]]] = {"original": {}, "onnx": {}}
    for size in map(int, sizes):
        frame = pd.concat([table] * (size // len(table) + 1), ignore_index=True).head(size)
        # a model of one text takes texts, not a table
        texts = frame.iloc[:, 0] if frame.shape[1] == 1 and frame.iloc[:, 0].dtype.kind not in "fib" else frame
        answer["original"][str(size)] = rates(predict, texts, float(seconds), int(rounds))
        feed = tensors(frame)

        def run(rows: Any, feed: dict[str, Any] = feed) -> None:
            session.run(None, feed)

        answer["onnx"][str(size)] = rates(run, frame, float(seconds), int(rounds))
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
