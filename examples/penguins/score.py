"""Scores CSV with nothing but onnxruntime and numpy: `python score.py [FILE]`, or rows on stdin.

What goes in and comes out stands in `penguins.contract.json`, beside the model.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime

MODEL = Path(os.environ.get("MODEL", "penguins.onnx"))


def tensors(rows: list[dict[str, str]], contract: dict) -> dict[str, np.ndarray]:
    """The model's inputs: a tensor for each, its columns by the names of the data."""
    found = {}
    for tensor in contract["inputs"]:
        names = [feature["name"] for feature in tensor["features"]]
        cells = [[row[name] for name in names] for row in rows]
        if tensor["type"] == "string":
            found[tensor["name"]] = np.array(cells, dtype=object).reshape(len(rows), len(names))
        else:
            numbers = [[float(cell) if cell else np.nan for cell in row] for row in cells]
            found[tensor["name"]] = np.array(numbers, dtype=tensor["type"]).reshape(len(rows), len(names))
    return found


def main(arguments: list[str]) -> int:
    """Score; 2 when a column is missing."""
    contract = json.loads(MODEL.with_suffix(".contract.json").read_text(encoding="utf-8"))
    text = Path(arguments[0]).read_text(encoding="utf-8") if arguments else sys.stdin.read()
    rows = list(csv.DictReader(text.splitlines()))
    wanted = [feature["name"] for tensor in contract["inputs"] for feature in tensor["features"]]
    missing = [name for name in wanted if not rows or name not in rows[0]]
    if missing:
        print(f"no rows, or no column {', '.join(missing)}", file=sys.stderr)
        return 2
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    names = [output["name"] for output in contract["outputs"]]
    label, probabilities = session.run(names, tensors(rows, contract))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["row", "species", "probability"])
    for number, (species, row) in enumerate(zip(label.ravel(), probabilities, strict=True), 1):
        writer.writerow([number, species, f"{row.max():.4f}"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
