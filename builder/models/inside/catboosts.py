"""CatBoost: the ONNX graph that it writes itself, put into ours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from builder.models.inside.emitting import ML, Emitter, float_type
from builder.models.inside.forests import narrowed
from builder.models.inside.problem import Problem

__all__ = ["convert", "exported"]


def exported(model: Any) -> Any:
    """CatBoost's own export as a ModelProto, without its times and random names."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            model.save_model(str(file), format="onnx")
        except Exception as error:  # its errors derive from Exception, version by version
            raise Problem(
                f"CatBoost doesn't export this model: {str(error).splitlines()[0]}",
                hint="train it without cat_features, text_features and embedding_features",
            ) from error
        return onnx.load(str(file))


def convert(scope: Any, operator: Any, container: Any) -> None:
    """CatBoostClassifier, CatBoostRegressor, and CatBoost."""
    import numpy as np
    from onnx import helper

    to = Emitter(scope, container)
    graph = exported(operator.raw_operator).graph
    names = {graph.input[0].name: narrowed(to, operator.inputs[0])}
    for node in graph.node:
        if node.op_type == "ZipMap":
            continue
        outputs = [scope.get_unique_variable_name(name) for name in node.output]
        names |= dict(zip(node.output, outputs, strict=True))
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        container.add_node(
            node.op_type,
            [names[name] for name in node.input],
            outputs,
            op_domain=node.domain or (ML if node.op_type.startswith("Tree") else ""),
            op_version=1,
            name=scope.get_unique_operator_name(node.op_type),
            **attributes,
        )
    if not hasattr(operator.raw_operator, "predict_proba"):
        last = graph.node[-1].output[0]
        rows = to.node("Reshape", names[last], to.constant(np.array([-1, _width(graph)], dtype=np.int64)))
        to.cast(rows, float_type(operator.inputs[0]), into=operator.outputs[0].full_name)
        return
    tree = next(node for node in graph.node if node.op_type.startswith("TreeEnsemble"))
    label, probabilities = tree.output
    to.node("Identity", names[label], into=operator.outputs[0].full_name)
    to.cast(names[probabilities], float_type(operator.inputs[0]), into=operator.outputs[1].full_name)


def _width(graph: Any) -> int:
    tree = next(node for node in graph.node if node.op_type.startswith("TreeEnsemble"))
    return next((one.i for one in tree.attribute if one.name == "n_targets"), 1)
