"""Rows as the tensors that a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from builder.models.inside.table import Table

__all__ = ["ELEMENTS", "evenly", "feature_names", "feeds", "session"]

ELEMENTS = {"float32": "float32", "float64": "float64", "int64": "int64", "string": "object", "bool": "bool"}


def feature_names(inputs: list[dict[str, Any]]) -> list[str]:
    """The columns that the model takes, in the order of its tensors."""
    return [feature["name"] for tensor in inputs for feature in tensor["features"]]


def feeds(table: Table, inputs: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """What `inputs` describes, by tensor: `[rows, features]` each. Missing text is an empty string.

    Raises Problem when a column is not there, or can't be what the tensor holds.
    """
    import numpy as np

    tensors = {}
    for tensor in inputs:
        names = [feature["name"] for feature in tensor["features"]]
        if lacking := [name for name in names if name not in table.columns]:
            raise Problem(f"the rows have no column {lacking[0]!r}", hint="the sample needs every column of the model")
        columns = [_column(table[name], tensor["type"], name) for name in names]
        tensors[tensor["name"]] = np.stack(columns, axis=1)
    return tensors


def _column(column: NDArray[Any], kind: str, name: str) -> NDArray[Any]:
    import numpy as np

    if kind == "string":
        return np.array([_text(value) for value in column.tolist()], dtype=object)
    if column.dtype == object:
        raise Problem(f"column {name!r} is text, and the model takes {kind} there")
    if kind in ("int64", "bool") and column.dtype.kind == "f" and not np.isfinite(column).all():
        raise Problem(f"column {name!r} has values that {kind} can't hold, such as NaN")
    with np.errstate(over="ignore"):
        return column.astype(ELEMENTS[kind])


def _text(value: object) -> str:
    return "" if value is None else str(value)


def session(model: str | bytes, threads: int) -> Any:
    """An onnxruntime session on the CPU; raises Problem when this runtime doesn't take the model."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave the cores alone
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this, in all versions
        reason = " ".join(str(error).split())
        raise Problem(
            f"onnxruntime {ort.__version__} doesn't load the model: {reason[:400]}",
            hint="declare a newer runtime in `consumers`, or look which step needs the operator: "
            "lockship convert --explain",
        ) from error


def evenly(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` of `rows`, evenly chosen, the first and the last among them."""
    import numpy as np

    if len(rows) <= most:
        return rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(np.int64))]
