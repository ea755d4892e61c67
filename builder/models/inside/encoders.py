"""One-hot encoding by equality: of numbers that aren't whole, of missing values, of rare categories put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.models.inside.emitting import ML, Emitter, wide
from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["convert_one_hot", "one_hot_shapes"]


def one_hot_shapes(operator: Any) -> None:
    """`[N, columns]`, floating."""
    rows = operator.inputs[0].get_first_dimension()
    encoder = operator.raw_operator
    width = sum(_folded(encoder, number).shape[1] for number in range(len(encoder.categories_)))
    operator.outputs[0].type = wide(operator.inputs[0], [rows, width])


def convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    """OneHotEncoder over inputs of any number of columns each."""
    from onnx import TensorProto
    from skl2onnx.common.data_types import DoubleTensorType

    to = Emitter(scope, container)
    encoder = operator.raw_operator
    kind = TensorProto.DOUBLE if isinstance(operator.outputs[0].type, DoubleTensorType) else TensorProto.FLOAT
    parts = []
    for number, (name, variable) in enumerate(_columns(to, operator)):
        hot = _hot(to, name, variable, encoder.categories_[number], number)
        folded = _folded(encoder, number)
        rest = _unseen_bin(encoder, number)
        if rest is not None or not _is_identity(folded):
            if rest is not None:
                hot = _with_unseen(to, hot)
                folded = _with_row(folded, rest)
            hot = to.node("MatMul", hot, to.constant(folded.astype("float32")))
        parts.append(hot)
    joined = parts[0] if len(parts) == 1 else to.node("Concat", *parts, axis=1)
    to.cast(joined, int(kind), into=operator.outputs[0].full_name)


def _columns(to: Emitter, operator: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for variable in operator.inputs:
        width = variable.type.shape[1]
        if not isinstance(width, int):
            width = len(operator.raw_operator.categories_) if len(operator.inputs) == 1 else 1
        found += [
            (variable.full_name if width == 1 else to.column(variable.full_name, column), variable)
            for column in range(width)
        ]
    if len(found) != len(operator.raw_operator.categories_):
        raise Problem(f"a one-hot encoder for {len(operator.raw_operator.categories_)} columns gets {len(found)}")
    return found


def _hot(to: Emitter, name: str, variable: Any, categories: Any, number: int) -> str:
    """`[N, categories]` of zeros and ones as float32."""
    import numpy as np
    from onnx import TensorProto
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

    if isinstance(variable.type, StringTensorType):
        texts = ["" if _is_missing(value) else str(value) for value in categories]
        if len(set(texts)) < len(texts):
            raise Problem(
                f"column {number + 1} of a one-hot encoder has two categories written the same: {_twice(texts)!r}",
                hint="missing values and empty strings can't be told apart in ONNX: make them one in the data",
            )
        hot = to.node("OneHotEncoder", name, domain=ML, cats_strings=[text.encode() for text in texts], zeros=1)
        return to.node("Reshape", hot, to.constant(np.array([-1, len(texts)], dtype=np.int64)))
    if isinstance(variable.type, Int64TensorType):
        same = to.node("Equal", name, to.constant(np.asarray(categories).astype(np.int64)[None, :]))
        return to.cast(same, TensorProto.FLOAT)
    dtype = np.float64 if isinstance(variable.type, DoubleTensorType) else np.float32
    values = np.asarray([np.nan if _is_missing(one) else float(one) for one in categories])
    same = to.node("Equal", name, to.constant(values.astype(dtype)[None, :]))
    if np.isnan(values).any():
        nothing = to.node("And", to.node("IsNaN", name), to.constant(np.isnan(values)[None, :]))
        same = to.node("Or", same, nothing)
    return to.cast(same, TensorProto.FLOAT)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType"


def _twice(texts: list[str]) -> str:
    return next(text for text in texts if texts.count(text) > 1)


def _folded(encoder: Any, number: int) -> NDArray[np.float64]:
    """Which category counts for which output column, `[categories, columns]`: some are put together, some dropped."""
    import numpy as np

    count = len(encoder.categories_[number])
    matrix = np.eye(count)
    mappings = getattr(encoder, "_default_to_infrequent_mappings", None)
    if getattr(encoder, "_infrequent_enabled", False) and mappings and mappings[number] is not None:
        mapping = np.asarray(mappings[number])
        matrix = np.zeros((count, int(mapping.max()) + 1))
        matrix[np.arange(count), mapping] = 1
    dropped = getattr(encoder, "_drop_idx_after_grouping", None)
    if dropped is None and not getattr(encoder, "_infrequent_enabled", False):
        dropped = getattr(encoder, "drop_idx_", None)
    if dropped is not None and dropped[number] is not None:
        matrix = np.delete(matrix, int(dropped[number]), axis=1)
    return matrix


def _is_identity(matrix: NDArray[np.float64]) -> bool:
    import numpy as np

    return matrix.shape[0] == matrix.shape[1] and bool((matrix == np.eye(len(matrix))).all())


def _unseen_bin(encoder: Any, number: int) -> int | None:
    """The output column that unseen categories count for, if there is one for rare ones."""
    if encoder.handle_unknown not in ("infrequent_if_exist", "warn"):
        return None
    rare = getattr(encoder, "_infrequent_indices", None)
    if not rare or rare[number] is None:
        return None
    column: int = int(encoder._default_to_infrequent_mappings[number].max())
    dropped = getattr(encoder, "_drop_idx_after_grouping", None)
    if dropped is not None and dropped[number] is not None:
        if int(dropped[number]) == column:
            return None
        column -= int(int(dropped[number]) < column)
    return column


def _with_unseen(to: Emitter, hot: str) -> str:
    """`hot` with a column more: one where all others are zero."""
    import numpy as np

    width = to.constant(np.array([[1.0]], dtype=np.float32))
    seen = to.node("ReduceMax", hot, axes=[1], keepdims=1) if to.container.target_opset < 18 else _max(to, hot)
    return to.node("Concat", hot, to.node("Sub", width, seen), axis=1)


def _max(to: Emitter, hot: str) -> str:
    import numpy as np

    return to.node("ReduceMax", hot, to.constant(np.array([1], dtype=np.int64)), keepdims=1)


def _with_row(matrix: NDArray[np.float64], column: int) -> NDArray[np.float64]:
    import numpy as np

    row = np.zeros((1, matrix.shape[1]))
    row[0, column] = 1
    return np.concatenate([matrix, row])
