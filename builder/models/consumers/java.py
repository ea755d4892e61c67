"""A converted model as a Maven project: a typed class over the real ``onnxruntime``, with the model as its resource.

A pure function of the contract, the model's bytes and the coordinates. Nothing is run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.errors import ModelError
from builder.models.consumers import java_text
from builder.models.consumers.java_names import Coordinates, base_name, stem_name
from builder.models.consumers.java_versions import choose
from builder.models.consumers.java_view import TYPES, accessors, is_optional, labels, notices, properties
from builder.models.contract import Contract, Scalar, TensorType
from builder.templating import render
from builder.words import listed

__all__ = ["SIGN", "JavaProject", "render_java"]

SIGN: Final = ("pom.xml", "Written by `lockship export java`")
"""A file of every project, and a text that is in it."""

_MOST: Final = 5_000  # features, and classes: a class file has 65,535 constants, and a method as many bytes

_MAIN: Final = ("Model", "Input", "Result", "InputException", "ModelException", "Feature", "Tensors", "Golden")


@dataclass(frozen=True, slots=True)
class JavaProject:
    """The files of a Maven project, by path; `main` is its class's full name, `notices` are for whoever exports it."""

    coordinates: Coordinates
    onnxruntime: str
    main: str
    files: Mapping[str, bytes]
    notices: tuple[str, ...]

    @property
    def jar(self) -> str:
        """Where Maven puts the jar, relative to the project."""
        return f"target/{self.coordinates.artifact}-{self.coordinates.version}.jar"


def render_java(
    contract: Contract, model: bytes, coordinates: Coordinates, onnxruntime: str | None = None
) -> JavaProject:
    """The project for `model`, whose contract is `contract`, upon the release `onnxruntime` or the one that fits.

    Raises ModelError for a model that Java can't be given, with the reason; UsageError as `choose` does.
    """
    release = choose(contract, onnxruntime)
    _check(contract)
    golden = [row for row in range(contract.rows) if not _impassable(contract, row)]
    if not golden:
        raise ModelError(
            f"the contract of {contract.name} has no golden rows that Java could score: nothing would be checked",
            hint="run `lockship convert` with a sample",
        )
    base, stem = base_name(contract), stem_name(contract)
    values = _values(contract, coordinates, release, base, stem)
    folder = coordinates.package.replace(".", "/")
    source, test = f"src/main/java/{folder}", f"src/test/java/{folder}"
    resources = f"src/main/resources/{folder}"
    files = {
        "pom.xml": render("java/pom.xml.j2", values).encode(),
        "README.md": render("java/README.md.j2", values).encode(),
        ".gitignore": b"/target/\n",
        f"{source}/package-info.java": render("java/package-info.java.j2", values).encode(),
        f"{test}/{base}ModelTest.java": render("java/ModelTest.java.j2", values).encode(),
        f"{resources}/{stem}.onnx": model,
        f"{resources}/{stem}.contract.json": contract.to_json(),
        f"{resources}/{stem}.features.tsv": _table(_features(contract)),
        f"{resources}/{stem}.golden.tsv": _table(_golden(contract, golden)),
    }
    for name in _MAIN:
        files[f"{source}/{base}{name}.java"] = render(f"java/{name}.java.j2", values).encode()
    told = (*notices(contract), *_unpassed(contract, len(golden)))
    return JavaProject(coordinates, release, f"{coordinates.package}.{base}Model", files, told)


def _values(contract: Contract, coordinates: Coordinates, release: str, base: str, stem: str) -> dict[str, Any]:
    features = properties(contract)
    outputs = accessors(contract)
    kinds = {tensor.type for tensor in contract.inputs}
    return {
        "sign": SIGN[1],
        "base": base,
        "stem": stem,
        "name": contract.name,
        "version": contract.version,
        "description": contract.description or "",
        "digest": contract.digest,
        "commit": contract.sources.commit,
        "coordinates": coordinates,
        "package": coordinates.package,
        "onnxruntime": release,
        "minimum": contract.runtime.minimum,
        "tolerance": contract.tolerance,
        "features": features,
        "units": [feature.unit or "" for _, _, feature in contract.features],
        "outputs": outputs,
        "labels": labels(contract),
        "label": next((one for one in outputs if one.meaning == "label"), None),
        # in the order of the enum, each with its array's name and type
        "kinds": [(kind, f"{word}s", TYPES[kind]) for kind, word in _ARRAYS.items() if kind in kinds],
        "both": {"float32", "float64"} <= kinds,
        "array": len(contract.inputs) == 1 and contract.inputs[0].type in ("float32", "float64"),
        "required": [one for one in features if not one.optional],
        "closed": any(feature.unseen == "refused" and feature.categories for _, _, feature in contract.features),
        "java": java_text.literal,
        "html": java_text.html,
        "xml": java_text.xml,
        "markdown": java_text.markdown,
        "widths": sum(one.width for one in outputs),
    }


_ARRAYS: Final[dict[TensorType, str]] = {
    "float32": "float",
    "float64": "double",
    "int64": "long",
    "string": "string",
    "bool": "boolean",
}


def _check(contract: Contract) -> None:
    """Raises ModelError for what no Java class could hold, or onnxruntime's Java binding not pass."""
    features = list(contract.features)
    for tensor, _, feature in features:
        if feature.missing != "refused" and not is_optional(tensor, feature):
            raise ModelError(
                f"the feature {feature.name!r} may be missing, and a tensor of type {tensor.type} has no way to say so"
                f" ({feature.missing})",
                hint="the contract is not what `lockship convert` writes: run it again",
            )
    classes = [name for output in contract.outputs for name in output.classes or ()]
    if wrong := [name for name in classes if isinstance(name, str) and not java_text.passes(name)]:
        raise ModelError(
            f"the class {wrong[0]!r} has characters that onnxruntime's Java binding garbles (NUL, or beyond U+FFFF)",
            hint="rename the class and train again",
        )
    for count, what in ((len(features), "features"), (len(classes), "classes")):
        if count > _MOST:
            raise ModelError(
                f"{contract.name} has {count:,} {what}, and a Java class takes {_MOST:,}",
                hint="use the .onnx itself with ai.onnxruntime: `lockship export onnx`",
            )


def _features(contract: Contract) -> Iterator[tuple[Scalar, ...]]:
    """A line a feature: tensor, type, name, what a missing one is, what others than its categories are, those."""
    for tensor, _, feature in contract.features:
        missing = "optional" if is_optional(tensor, feature) else "required"
        # known numbers that others may stand for need no check; known texts tell which texts garbling could hurt
        checked = feature.unseen == "refused" or tensor.type == "string"
        categories = feature.categories if checked else None
        unseen = "any" if categories is None else "refused" if feature.unseen == "refused" else "ignored"
        yield tensor.name, tensor.type.upper(), feature.name, missing, unseen, *(categories or ())


def _golden(contract: Contract, rows: list[int]) -> Iterator[tuple[Scalar, ...]]:
    """A line a row: the features, then the outputs."""
    tensors = [contract.golden.inputs[tensor.name] for tensor in contract.inputs]
    tensors += [contract.golden.outputs[output.name] for output in contract.outputs]
    kinds = [tensor.type for tensor in contract.inputs] + [output.type for output in contract.outputs]
    for row in rows:
        yield tuple(
            cell if kind in ("string", "bool") or isinstance(cell, str) else _number(cell, kind)
            for tensor, kind in zip(tensors, kinds, strict=True)
            for cell in tensor[row]
        )


def _number(cell: bool | int | float, kind: TensorType) -> int | float:
    return int(cell) if kind == "int64" else float(cell)


def _impassable(contract: Contract, row: int) -> bool:
    """Whether a golden row has text that would reach the model as other bytes, and could matter."""
    return any(
        isinstance(cell := contract.golden.inputs[tensor.name][row][column], str)
        and tensor.type == "string"
        and not java_text.passes(cell)
        and (feature.categories is None or cell in feature.categories)
        for tensor, column, feature in contract.features
    )


def _unpassed(contract: Contract, golden: int) -> Iterator[str]:
    """What Java will refuse though the model knows it."""
    for _, _, feature in contract.features:
        known = [one for one in feature.categories or () if isinstance(one, str) and not java_text.passes(one)]
        if known:
            yield (
                f"{feature.name}: {listed([repr(one) for one in known])}: onnxruntime's Java binding garbles characters"
                " beyond U+FFFF, so the package refuses rows with them"
            )
    if golden < contract.rows:
        yield f"{contract.rows - golden} of {contract.rows} golden rows have such text: the self-test goes without them"


def _table(rows: Iterator[tuple[Scalar, ...]]) -> bytes:
    return "".join("\t".join(java_text.cell(one) for one in row) + "\n" for row in rows).encode()
