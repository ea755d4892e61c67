"""Models of a few columns, translated in this process, and their queries on SQLite."""

from __future__ import annotations

import hashlib
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from builder.models.consumers.sql import Trial
from builder.models.consumers.sql_databases import run_sqlite
from builder.models.inside import sql

__all__ = ["HOSTILE", "Made", "of", "on_sqlite", "unequal"]

HOSTILE: Final = [
    'a"b', "a'b", "a\\b", "; DROP TABLE t --", "a\nb\n; SELECT 1", "/* */", "größe 🙂", "select", "$1 %s {x} ?", " ",
    "a\u2028b", "t.x",
]  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A converted model and its contract as JSON."""

    model: bytes
    contract: dict[str, Any]

    def answer(self, dialect: str, **options: Any) -> dict[str, Any]:
        """What the operation gives for a table ``t`` with the key ``id``."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "m.onnx"
            file.write_bytes(self.model)
            job = {"onnx": str(file), "contract": self.contract, "contract_digest": "sha256:" + "0" * 64}
            return sql.run({**job, "dialect": dialect, "table": ["t"], "keys": ["id"], **options})


def of(model: Any, rows: np.ndarray, *, names: Sequence[str] | None = None, missing: str = "refused") -> Made:
    """A fitted model of numbers, converted; its first rows are the golden ones, without the original's scores."""
    from onnx.helper import make_attribute
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    width = rows.shape[1]
    classes = model.classes_.tolist() if hasattr(model, "classes_") else None
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    with warnings.catch_warnings(), patch("onnx.helper.make_attribute", _without_bools(make_attribute)):
        warnings.simplefilter("ignore")
        converted = convert_sklearn(
            model, "m", [("features", FloatTensorType([None, width]))],
            target_opset={"": 17, "ai.onnx.ml": 3}, options=options,
        ).SerializeToString()  # fmt: skip
    features = [{"name": name, "missing": missing} for name in names or [f"f{number}" for number in range(width)]]
    outputs: list[dict[str, Any]] = [{"name": "variable", "type": "float32", "meaning": "value", "width": 1}]
    if classes is not None:
        kind = "string" if isinstance(classes[0], str) else "int64"
        outputs = [
            {"name": "label", "type": kind, "meaning": "label", "classes": classes},
            {
                "name": "probabilities", "type": "float32", "meaning": "probabilities", "width": len(classes),
                "classes": classes,
            },
        ]  # fmt: skip
    contract = {
        "name": "m",
        "version": "1",
        "digest": "sha256:" + hashlib.sha256(converted).hexdigest(),
        "inputs": [{"name": "features", "type": "float32", "features": features}],
        "outputs": outputs,
        "golden": {"inputs": {"features": [[float(np.float32(cell)) for cell in row] for row in rows[:40].tolist()]}},
    }
    return Made(converted, contract)


def _without_bools(make: Callable[..., Any]) -> Callable[..., Any]:
    """Protobuf 7 takes no bools for integers, and skl2onnx has some; the converter's environment has protobuf 6."""

    def made(key: str, value: Any, *others: Any, **more: Any) -> Any:
        if isinstance(value, list):
            value = [int(one) if isinstance(one, bool | np.bool_) else one for one in value]
        return make(key, value, *others, **more)

    return made


def on_sqlite(answer: Mapping[str, Any]) -> dict[int, tuple[Any, ...]]:
    """The query's columns by row."""
    return run_sqlite(Trial.of(answer, view=False))[1]


def unequal(contract: Mapping[str, Any], answer: Mapping[str, Any], got: Mapping[int, tuple[Any, ...]]) -> list[Any]:
    """Rows whose label or number is off; labels where the two best numbers are as good as equal don't count."""
    trial = Trial.of(answer, view=False)
    bad: list[Any] = []
    for number, row in enumerate(trial.rows):
        wanted = [cell for output in contract["outputs"] for cell in trial.expected[output["name"]][number]]
        if trial.unscored[number]:
            bad += [(row, cell) for cell in got[number] if cell is not None]
            continue
        if not all(math.isfinite(cell) for cell in wanted if isinstance(cell, float)):
            continue
        scores = sorted(cell for cell in wanted if isinstance(cell, float))
        tied = len(scores) > 1 and scores[-1] - scores[-2] < 1e-6
        for place, (want, cell) in enumerate(zip(wanted, got[number], strict=True)):
            if isinstance(want, float):
                if cell is None or not abs(cell - want) <= 1e-5 + 1e-4 * abs(want):
                    bad.append((row, want, cell))
            elif want != cell and not tied:
                bad.append((row, place, want, cell))
    return bad
