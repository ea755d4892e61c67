"""A contract from what the operations answered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from builder.errors import ModelError
from builder.models.contract import Contract, Feature, Golden, Input, Output, Runtime, Sources, Tolerance
from builder.models.runtimes import minimum_runtime
from builder.models.spec import bounds
from builder.project import Model

__all__ = ["contract_of"]


def contract_of(
    name: str,
    version: str,
    model: Model,
    *,
    digest: str,
    size: int,
    converted: Mapping[str, Any],
    columns: Sequence[Mapping[str, Any]],
    golden: Mapping[str, Any],
    sources: Sources,
) -> Contract:
    """The contract of a model whose bytes have `digest` and `size`.

    `converted` is the answer of `convert`, `columns` are those of `sample`, `golden` is of `compare`. Raises ModelError
    when they don't fit together, which is a bug of ours.
    """
    known = {column["name"]: column for column in columns}
    inputs = tuple(_input(tensor, known, model) for tensor in converted["inputs"])
    outputs = tuple(_output(tensor) for tensor in converted["outputs"])
    absolute, relative = bounds(model)
    try:
        return Contract(
            name=name,
            version=version,
            description=model.description,
            digest=digest,
            size=size,
            precision=model.precision,
            runtime=Runtime(
                opset=converted["opset"],
                ml_opset=converted.get("ml_opset"),
                ir=converted["ir"],
                minimum=minimum_runtime(converted["opset"], converted["ir"], converted.get("ml_opset")),
                consumers=model.consumers,
            ),
            inputs=inputs,
            outputs=outputs,
            tolerance=Tolerance(absolute=absolute, relative=relative),
            sources=sources,
            golden=_golden(golden, inputs, outputs),
        )
    except ValidationError as error:
        raise ModelError(f"the converted model {name} fits no contract: {error.errors()[0]['msg']}") from error


def _input(tensor: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]], model: Model) -> Input:
    features = tuple(_feature(one, columns.get(one["name"], {}), model) for one in tensor["features"])
    return Input(name=tensor["name"], type=tensor["type"], features=features)


def _feature(feature: Mapping[str, Any], column: Mapping[str, Any], model: Model) -> Feature:
    declared = model.inputs.get(feature["name"])
    categories = feature.get("categories")
    return Feature(
        name=feature["name"],
        missing=feature.get("missing") or "refused",
        categories=None if categories is None else tuple(categories),
        unseen=feature.get("unseen"),
        minimum=_number(column.get("minimum")),
        maximum=_number(column.get("maximum")),
        unit=declared.unit if declared else None,
        description=declared.description if declared else None,
    )


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _output(tensor: Mapping[str, Any]) -> Output:
    classes = tensor.get("classes")
    return Output(
        name=tensor["name"],
        type=tensor["type"],
        meaning=tensor["meaning"],
        width=tensor.get("width"),
        classes=None if classes is None else tuple(classes),
    )


def _golden(golden: Mapping[str, Any], inputs: Sequence[Input], outputs: Sequence[Output]) -> Golden:
    def rows(tensors: Mapping[str, Any], name: str) -> tuple[tuple[Any, ...], ...]:
        return tuple(tuple(row) for row in tensors.get(name, ()))

    return Golden(
        inputs={one.name: rows(golden["inputs"], one.name) for one in inputs},
        outputs={one.name: rows(golden["outputs"], one.name) for one in outputs},
    )
