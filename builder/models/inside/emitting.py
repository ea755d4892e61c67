"""Writing nodes into a graph that skl2onnx builds: names, constants, casts."""

from __future__ import annotations

from typing import Any

__all__ = ["ML", "Emitter", "float_type", "is_double", "wide"]

ML = "ai.onnx.ml"


class Emitter:
    """Adds nodes to skl2onnx's `container`, under names that `scope` hands out."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope = scope
        self.container = container

    def constant(self, values: Any) -> str:
        """An initializer with the values of a NumPy array (of numbers or of `str`); its name."""
        import numpy as np
        from onnx import TensorProto, helper

        array = np.asarray(values)
        name: str = self.scope.get_unique_variable_name("const")
        if array.dtype.kind in "OUS":
            kind, content = TensorProto.STRING, [str(one).encode() for one in array.ravel()]
        else:
            kind, content = helper.np_dtype_to_tensor_dtype(array.dtype), array.ravel().tolist()
        self.container.add_initializer(name, kind, list(array.shape), content)
        return name

    def node(self, op: str, *inputs: str, domain: str = "", into: str | None = None, **attributes: Any) -> str:
        """A node of one output, which is called `into` or gets a new name; that name."""
        output = into or self.scope.get_unique_variable_name(op.lower())
        self.container.add_node(
            op,
            list(inputs),
            [output],
            op_domain=domain,
            name=self.scope.get_unique_operator_name(op),
            **attributes,
        )
        return output

    def cast(self, name: str, to: int, into: str | None = None) -> str:
        """A cast to the element type `to`."""
        return self.node("Cast", name, to=to, into=into)

    def column(self, name: str, index: int) -> str:
        """One column of a matrix, as `[rows, 1]`."""
        import numpy as np

        return self.node("Gather", name, self.constant(np.array([index], dtype=np.int64)), axis=1)

    def flat(self, name: str, into: str | None = None) -> str:
        """The elements of a `[rows, 1]` tensor as `[rows]`."""
        import numpy as np

        return self.node("Reshape", name, self.constant(np.array([-1], dtype=np.int64)), into=into)


def is_double(variable: Any) -> bool:
    """Whether a variable of skl2onnx holds float64."""
    from skl2onnx.common.data_types import DoubleTensorType

    return isinstance(variable.type, DoubleTensorType)


def float_type(variable: Any) -> int:
    """The ONNX element type that computations on `variable` use: double stays, all else becomes float."""
    from onnx import TensorProto

    return int(TensorProto.DOUBLE if is_double(variable) else TensorProto.FLOAT)


def wide(variable: Any, shape: list[Any]) -> Any:
    """The skl2onnx type of a floating tensor computed from `variable`."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    return (DoubleTensorType if is_double(variable) else FloatTensorType)(shape)
