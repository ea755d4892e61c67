"""ONNX operators over cells: each takes tensors and gives tensors, or says why a query can't do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from builder.models.inside.problem import Problem
from builder.models.inside.sql import encoders, ensembles, linear
from builder.models.inside.sql.cells import (
    Cell,
    Choice,
    Fixed,
    Mixed,
    Step,
    expression,
    mapped,
    stepped,
)
from builder.models.inside.sql.graph import Node
from builder.models.inside.sql.stages import Stages
from builder.models.inside.sql.tensors import Operator, Row, Tensor, row_of, vector_of
from builder.models.inside.sql.tree import Call, Condition, In, Number, Product, Quotient, Sum, either

__all__ = ["translate"]


def translate(stages: Stages, node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What `node` makes of `inputs`; raises Problem when there is no translation."""
    function = _OPERATORS.get(node.operator)
    if function is None:
        raise Problem(
            f"the operator {node.operator} has no translation",
            hint="queries are written for linear models, trees, forests, boosters, scalers, encoders and imputers; "
            "for others score with the .onnx (`lockship export java`, `lockship export dotnet`)",
        )
    result = function(stages, node, inputs)
    return result if isinstance(result, tuple) else (result,)


def _axis(node: Node, inputs: Sequence[Any], number: int = 1, default: int = 1) -> None:
    axis = node.get("axis")
    if axis is None and (axes := node.get("axes")):
        axis = axes[0]
    if axis is None and len(inputs) > number and not isinstance(inputs[number], Row):
        axis = int(inputs[number].ravel()[0])
    if (default if axis is None else axis) not in (1, -1):
        raise Problem(f"{node.operator} along the rows has no translation")


def _same(stages: Stages, node: Node, inputs: Sequence[Any]) -> Tensor:
    tensor: Tensor = inputs[0]
    return tensor


def _reshape(stages: Stages, node: Node, inputs: Sequence[Any]) -> Tensor:
    row = inputs[0]
    if isinstance(row, Row):
        shape = [int(size) for size in inputs[1].ravel()]
        width = len(row.cells)
        if not (shape == [-1] and width == 1) and not (len(shape) == 2 and shape[0] == -1 and shape[1] == width):
            raise Problem(f"a reshape of {width} columns to {shape} has no translation")
    tensor: Tensor = row
    return tensor


def _concat(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    _axis(node, (), default=-1)
    rows = [row_of(one) for one in inputs]
    return Row(tuple(cell for row in rows for cell in row.cells), rows[0].type)


def _gather(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    if node.operator == "Gather":
        _axis(node, (), default=0)
    data, chosen = inputs
    if isinstance(chosen, Row):  # labels by number
        (cell,) = chosen.cells
        values = data.ravel().tolist()
        if not isinstance(cell, (Choice, Fixed)) or isinstance(data, Row):
            raise Problem("choosing by a computed number has no translation")
        return Row(
            (mapped(cell, lambda number: values[int(number)]),), "string" if isinstance(values[0], str) else "int64"
        )
    row = row_of(data)
    return Row(tuple(row.cells[int(number)] for number in chosen.ravel()), row.type)


def _split(stages: Stages, node: Node, inputs: Sequence[Any]) -> tuple[Row, ...]:
    _axis(node, (), default=0)
    row = row_of(inputs[0])
    sizes = inputs[1].ravel().tolist() if len(inputs) > 1 else node.get("split")
    sizes = sizes or [len(row.cells) // len(node.outputs)] * len(node.outputs)
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return tuple(Row(row.cells[end - size : end], row.type) for size, end in zip(sizes, ends, strict=False))


def _arithmetic(operator: str) -> Operator:
    def function(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
        left, right = inputs
        rows = [one for one in inputs if isinstance(one, Row)]
        if not rows:
            raise Problem("arithmetic between constants has no translation")
        width = max(len(row.cells) for row in rows)
        kind = rows[0].type
        sides = [_widened(one, width, kind) for one in (left, right)]
        return Row(
            tuple(_combined(operator, one, other, kind == "float32") for one, other in zip(*sides, strict=False)), kind
        )

    return function


def _widened(tensor: Any, width: int, kind: str) -> list[Cell]:
    if not isinstance(tensor, Row):
        return [Fixed(value) for value in vector_of(tensor, width)]
    if len(tensor.cells) not in (1, width):
        raise Problem("arithmetic between tensors of different widths has no translation")
    return list(tensor.cells) * (width if len(tensor.cells) == 1 else 1)


def _combined(operator: str, left: Cell, right: Cell, single: bool) -> Cell:
    """``left operator right`` of ``+ - * /``."""
    if isinstance(right, Fixed):
        value = float(right.value)
        step = {"+": ("add", value), "-": ("add", -value), "*": ("multiply", value), "/": ("divide", value)}[operator]
        return stepped(left, Step(*step, single))
    if isinstance(left, Fixed) and operator in "+*":
        return _combined(operator, right, left, single)
    if isinstance(left, Fixed) and operator == "-":
        return stepped(stepped(right, Step("multiply", -1.0, single)), Step("add", float(left.value), single))
    one, other = expression(left), expression(right)
    if operator == "*":
        return Mixed(Product(one, other))
    if operator == "/":
        return Mixed(Quotient(one, Call("defined", (other,))))
    return Mixed(Sum((one, other if operator == "+" else Product(Number(-1.0), other))))


def _sum(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    result: Row = row_of(inputs[0])
    for other in inputs[1:]:
        result = _arithmetic("+")(stages, node, (result, other))
    return result


def _extreme(function: str) -> Operator:
    def run(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
        row = row_of(inputs[0])
        cells = list(row.cells)
        for bound in inputs[1:]:
            values = vector_of(bound, len(cells))
            cells = [
                stepped(cell, Step(function, value, row.type == "float32"))
                for cell, value in zip(cells, values, strict=False)
            ]
        return Row(tuple(cells), row.type)

    return run


def _clip(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    row = row_of(inputs[0])
    for function, bound in zip(("greatest", "least"), inputs[1:], strict=False):
        if bound is not None:
            row = _extreme(function)(stages, node, (row, bound))
    return row


def _matmul(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    row, weights = row_of(inputs[0]), inputs[1]
    if isinstance(weights, Row) or weights.ndim > 2:
        raise Problem("a product of two tensors of rows has no translation")
    columns = weights.reshape(len(row.cells), -1).T.tolist()
    return Row(tuple(Mixed(linear.weighted(stages, row.cells, column, 0.0)) for column in columns), row.type)


def _gemm(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    row, weights = row_of(inputs[0]), inputs[1]
    if node.get("transA") or isinstance(weights, Row):
        raise Problem("a product of two tensors of rows has no translation")
    columns = (weights if node.get("transB") else weights.T) * node.get("alpha", 1.0)
    bias = vector_of(inputs[2], len(columns)) if len(inputs) > 2 else [0.0] * len(columns)
    beta = node.get("beta", 1.0)
    pairs = zip(columns.tolist(), bias, strict=False)
    return Row(tuple(Mixed(linear.weighted(stages, row.cells, one, beta * own)) for one, own in pairs), row.type)


def _linear_scores(stages: Stages, node: Node, row: Row) -> list[Mixed]:
    coefficients, width = node.get("coefficients"), len(row.cells)
    count = len(coefficients) // width
    bias = node.get("intercepts") or [0.0] * count
    return [
        Mixed(linear.weighted(stages, row.cells, coefficients[one * width : (one + 1) * width], bias[one]))
        for one in range(count)
    ]


def _linear_regressor(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    scores = _linear_scores(stages, node, row_of(inputs[0]))
    values = linear.transformed(stages, [one.value for one in scores], node.get("post_transform", "NONE"))
    return Row(tuple(values), "float32")


def _linear_classifier(stages: Stages, node: Node, inputs: Sequence[Any]) -> tuple[Row, Row]:
    labels = node.get("classlabels_strings") or node.get("classlabels_ints")
    scores = _linear_scores(stages, node, row_of(inputs[0]))
    if len(scores) != len(labels):
        raise Problem(f"a linear classifier with {len(scores)} scores for {len(labels)} classes has no translation")
    label = linear.first_largest(stages, scores, labels)
    values = linear.transformed(stages, [one.value for one in scores], node.get("post_transform", "NONE"))
    return Row((label,), "string" if isinstance(labels[0], str) else "int64"), Row(tuple(values), "float32")


def _tree_classifier(stages: Stages, node: Node, inputs: Sequence[Any]) -> tuple[Row, Row]:
    label, values = ensembles.classifier(stages, node, row_of(inputs[0]).cells)
    return Row((label,), "string" if isinstance(label.otherwise, str) else "int64"), Row(tuple(values), "float32")


def _tree_regressor(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    return Row(tuple(ensembles.regressor(stages, node, row_of(inputs[0]).cells)), "float32")


def _normalizer(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    row = row_of(inputs[0])
    values = [stages.named(expression(cell), "f") for cell in row.cells]
    how = node.get("norm", "MAX")
    if how == "L1":
        total = Sum(tuple(Call("abs", (value,)) for value in values))
        norm = stages.named(total, "t")
    elif how == "L2":
        norm = stages.named(Call("sqrt", (Sum(tuple(Product(value, value) for value in values)),)), "t")
    else:
        raise Problem(f"a normalizer by {how} has no translation")
    divisor = Call("nonzero", (norm,))
    return Row(tuple(Mixed(stages.named(Quotient(value, divisor), "p")) for value in values), row.type)


def _unary(make: Callable[[Any], Any]) -> Operator:
    def run(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
        row = row_of(inputs[0])
        cells = [Mixed(stages.named(make(expression(cell)), "p")) for cell in row.cells]
        return Row(tuple(cells), row.type)

    return run


def _negative(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    row = row_of(inputs[0])
    return Row(tuple(stepped(cell, Step("multiply", -1.0)) for cell in row.cells), row.type)


def _softmax(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    row = row_of(inputs[0])
    _axis(node, (), default=-1)
    scores = [stages.named(expression(cell), "s") for cell in row.cells]
    return Row(tuple(Mixed(value) for value in linear.softmax(stages, scores)), row.type)


def _reduce_sum(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    _axis(node, inputs)
    row = row_of(inputs[0])
    return Row((_one_of(row.cells) or linear.added(stages, row.cells),), row.type)


def _one_of(cells: Sequence[Cell]) -> Cell | None:
    """The sum of a one-hot encoder's columns, of which at most one is 1, as one indicator."""
    conditions: list[Condition] = []
    for cell in cells:
        if not isinstance(cell, Choice) or cell.otherwise != 0.0 or [value for _, value in cell.branches] != [1.0]:
            return None
        conditions.append(cell.branches[0][0])
    listed = [one for one in conditions if isinstance(one, In) and not one.inverse]
    values = [value for one in listed for value in one.values]
    if len(listed) < len(cells) or len({one.left for one in listed}) != 1 or len(set(values)) < len(values):
        return None
    return encoders.indicator(either([*conditions]))


def _arg_max(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    _axis(node, (), default=0)
    if node.get("select_last_index"):
        raise Problem("the last of several largest has no translation")
    row = row_of(inputs[0])
    return Row((linear.first_largest(stages, row.cells, range(len(row.cells))),), "int64")


_OPERATORS: dict[str, Operator] = {
    "Abs": _unary(lambda value: Call("abs", (value,))),
    "Add": _arithmetic("+"),
    "ArgMax": _arg_max,
    "ArrayFeatureExtractor": _gather,
    "Binarizer": encoders.binarizer,
    "Cast": encoders.cast,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _arithmetic("/"),
    "Exp": _unary(linear.exponential),
    "Flatten": _same,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": _same,
    "Imputer": encoders.imputer,
    "LabelEncoder": encoders.label_encoder,
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "MatMul": _matmul,
    "Max": _extreme("greatest"),
    "Min": _extreme("least"),
    "Mul": _arithmetic("*"),
    "Neg": _negative,
    "Normalizer": _normalizer,
    "OneHotEncoder": encoders.one_hot,
    "ReduceSum": _reduce_sum,
    "Reshape": _reshape,
    "Scaler": encoders.scaler,
    "Sigmoid": _unary(linear.logistic),
    "Softmax": _softmax,
    "Split": _split,
    "Sub": _arithmetic("-"),
    "Sum": _sum,
    "TreeEnsembleClassifier": _tree_classifier,
    "TreeEnsembleRegressor": _tree_regressor,
}
