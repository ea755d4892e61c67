"""What a converted model takes, gives and promises: `NAME.contract.json`, beside `NAME.onnx`.

Everything that packages for other languages need is in here and in the model; nothing of Python is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from builder.content import Digest
from builder.errors import ModelError

__all__ = [
    "SCHEMA",
    "Contract",
    "Feature",
    "Golden",
    "Input",
    "Meaning",
    "Output",
    "Runtime",
    "Scalar",
    "Sources",
    "TensorType",
    "Tolerance",
    "from_scalar",
    "json_schema",
    "read_contract",
    "to_scalar",
]

SCHEMA: Final = "dev.lockship.contract/v1"

TensorType = Literal["float32", "float64", "int64", "string", "bool"]
Meaning = Literal["label", "probabilities", "scores", "value", "features"]
Scalar = bool | int | float | str
"""A cell: JSON has no NaN and no infinities, so in floating tensors they are "NaN", "Infinity" and "-Infinity"."""

_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
Text = Annotated[str, Field(min_length=1)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Feature(_Value):
    """One column of the data that the model was trained on.

    `missing` says how a missing value is written: as NaN, as an empty string, or not at all (``refused``: the model was
    not made for it). `categories` are the values that the model knows, when it knows a fixed set; `unseen` is
    what it does with others: ``ignored`` scores them as none of the known, ``refused`` means the original raises.
    `minimum` and `maximum` are what the sample had, in numbers.
    """

    name: Text
    missing: Literal["nan", "empty", "refused"] = "refused"
    categories: tuple[Scalar, ...] | None = None
    unseen: Literal["ignored", "refused"] | None = None
    minimum: FiniteFloat | None = None
    maximum: FiniteFloat | None = None
    unit: str | None = None
    description: str | None = None


class Input(_Value):
    """A tensor that goes in: `[rows, len(features)]` elements of `type`, its columns in the order of `features`."""

    name: Text
    type: TensorType
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]


class Output(_Value):
    """A tensor that comes out: `[rows]` elements when `width` is None, else `[rows, width]`.

    `classes` are a classifier's, in the order of its columns; for a label they are the values it takes.
    """

    name: Text
    type: TensorType
    meaning: Meaning
    width: Annotated[int, Field(ge=1)] | None = None
    classes: tuple[int | str, ...] | None = None


class Runtime(_Value):
    """What reads the model: operator sets, the IR version, and the oldest onnxruntime that takes all of them.

    `consumers` are the runtimes that were declared, as written (``java-1.17``).
    """

    opset: int
    ml_opset: int | None = None
    ir: int
    minimum: Text
    consumers: tuple[str, ...] = ()


class Tolerance(_Value):
    """How far a number may be off: ``absolute + relative * abs(expected)``. Labels are exact."""

    absolute: Annotated[float, Field(ge=0)]
    relative: Annotated[float, Field(ge=0)]


class Sources(_Value):
    """Where the model comes from, as digests (``sha256:…``) and a git commit, as far as they are known."""

    model: str | None = None
    data: str | None = None
    lock: str | None = None
    commit: str | None = None


class Golden(_Value):
    """Rows whose scores are known: the original model's. By tensor, then row by row; a `[rows]` output has one cell."""

    inputs: dict[str, tuple[tuple[Scalar, ...], ...]]
    outputs: dict[str, tuple[tuple[Scalar, ...], ...]]


class Contract(_Value):
    """A model's contract. `digest` and `size` are those of ``NAME.onnx``; `precision` is how numbers are passed."""

    schema_: Literal["dev.lockship.contract/v1"] = Field(default=SCHEMA, alias="schema")
    name: Text
    version: Text
    description: str | None = None
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    precision: Literal["float32", "double+cast"] = "float32"
    runtime: Runtime
    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]
    tolerance: Tolerance
    sources: Sources = Sources()
    golden: Golden

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for kind, tensors, rows in (
            ("input", {one.name: len(one.features) for one in self.inputs}, self.golden.inputs),
            ("output", {one.name: one.width or 1 for one in self.outputs}, self.golden.outputs),
        ):
            if len(tensors) != len(self.inputs if kind == "input" else self.outputs):
                raise ValueError(f"two {kind}s have one name")
            if tensors.keys() != rows.keys():
                raise ValueError(f"the golden rows have other {kind}s than the contract")
            for name, width in tensors.items():
                if any(len(row) != width for row in rows[name]):
                    raise ValueError(f"a golden row of {kind} {name!r} has not {width} cells")
        if len({len(rows) for rows in (*self.golden.inputs.values(), *self.golden.outputs.values())}) > 1:
            raise ValueError("the golden rows are not equally many in every tensor")
        return self

    @property
    def features(self) -> Iterator[tuple[Input, int, Feature]]:
        """Every feature with its input and its column there, in order."""
        for tensor in self.inputs:
            for column, feature in enumerate(tensor.features):
                yield tensor, column, feature

    def output(self, meaning: Meaning) -> Output | None:
        """The output with this meaning, or None."""
        return next((one for one in self.outputs if one.meaning == meaning), None)

    @property
    def rows(self) -> int:
        """How many golden rows there are."""
        return len(next(iter(self.golden.inputs.values())))

    def require_model(self, found: Digest, file: Path, *, title: str = "its contract") -> None:
        """Raises ModelError unless `found`, the digest of the model at `file`, is what this (`title`) is about."""
        if found != self.digest:
            raise ModelError(
                f"is not the model of {title}, which says {self.digest}; it is {found}",
                file=file,
                hint="run `lockship convert`, which writes both",
            )

    def to_json(self) -> bytes:
        """The file's bytes: the same for the same contract."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def to_scalar(value: bool | int | float | str) -> Scalar:
    """`value` as a cell."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def from_scalar(cell: Scalar, kind: TensorType) -> bool | int | float | str:
    """The value of a cell in a tensor of type `kind`."""
    if kind in ("float32", "float64"):
        return _SPECIAL[cell] if isinstance(cell, str) else float(cell)
    return cell


def read_contract(file: Path) -> Contract:
    """Read and check a contract; raises ModelError with the place for the first thing that is wrong."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ModelError(f"cannot read: {reason}", file=file, hint="`lockship convert` writes it") from error
    try:
        # by way of the text: only then may a list stand for a tuple
        return Contract.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"{where}: {first['msg']}" if where else first["msg"],
            file=file,
            hint="`lockship convert` writes it anew; don't edit it",
        ) from error


def json_schema() -> dict[str, Any]:
    """The JSON schema of contracts (draft 2020-12), as it is published in docs/schemas."""
    schema = Contract.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:lockship:contract:v1", **schema}


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
