"""A contract as C# sees it: its classes, the properties of rows and results, and what is checked before scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from builder.errors import ModelError
from builder.models.consumers.dotnet_text import KEYWORDS, TYPES, literal, string
from builder.models.consumers.identifiers import Identifier, Style, collisions, identifier, identifiers
from builder.models.contract import Contract, Feature, Input, Output, Scalar, TensorType

__all__ = ["Classes", "Member", "Property", "View", "namespace_of", "stem_of", "view_of"]

# Every object has these, and a member named like one hides it.
_OBJECT: Final = frozenset(
    {"Equals", "Finalize", "GetHashCode", "GetType", "MemberwiseClone", "ReferenceEquals", "ToString"}
)
# Types that the client names: a namespace called like one would come first.
_TYPES: Final = """
    Array ArgumentException ArgumentNullException Assembly BitConverter Convert CultureInfo DenseTensor
    DisposableNamedOnnxValue EndOfStreamException HashSet IDisposable IDisposableReadOnlyCollection IEnumerable
    IReadOnlyList InferenceSession InvalidOperationException List Math Microsoft NamedOnnxValue ObjectDisposedException
    Parallel ReaderWriterLockSlim SHA256 SessionOptions Stream System Tensor Xunit
"""
_USED: Final = frozenset(_TYPES.split())
_MEANINGS: Final = {
    "label": ("Label", "Labels"),
    "probabilities": ("Probability", "Probabilities"),
    "scores": ("Score", "Scores"),
    "value": ("Value", "Values"),
    "features": ("Feature", "Features"),
}
# The functions of the client that turn a value into a cell, or throw.
_CHECKS: Final[dict[TensorType, str]] = {"float32": "Single", "float64": "Double", "string": "Text"}
_SHOWN: Final = 12  # categories named in a comment


@dataclass(frozen=True, slots=True)
class Classes:
    """The names of the package: ``ChurnModel`` and its company."""

    stem: str

    @property
    def model(self) -> str:
        """Scores."""
        return f"{self.stem}Model"

    @property
    def input(self) -> str:
        """A row."""
        return f"{self.stem}Input"

    @property
    def result(self) -> str:
        """A row's scores."""
        return f"{self.stem}Result"

    @property
    def tensors(self) -> str:
        """Rows on their way in."""
        return f"{self.stem}Tensors"

    @property
    def all(self) -> frozenset[str]:
        """All of them."""
        return frozenset({self.model, self.input, self.result, self.tensors})


@dataclass(frozen=True, slots=True)
class Property:
    """One feature as a property of a row: `tensor` and `column` say where it goes, `known` names its set of values."""

    name: str
    feature: Feature
    kind: TensorType
    tensor: int
    column: int
    known: str | None

    @property
    def optional(self) -> bool:
        """It may be left out."""
        return self.feature.missing != "refused"

    @property
    def type(self) -> str:
        """The property's, ``double?`` where a value may be missing.

        A double also where the tensor is of floats: it is what people have at hand, without suffix and cast.
        """
        return ("double" if self.kind == "float32" else TYPES[self.kind]) + ("?" if self.optional else "")

    @property
    def field(self) -> str:
        """What remembers whether a value was given, when the property's own type can't."""
        first = self.name[0].lower() if self.name[0].isascii() else self.name[0]
        return f"_{first}{self.name[1:]}"

    @property
    def backed(self) -> bool:
        """It needs that field."""
        return not self.optional and self.kind != "string"

    @property
    def checked(self) -> str:
        """The expression that gives the cell, or throws."""
        name = string(self.feature.name)
        value = f"row.{self.field if self.backed else self.name}"
        optional = f" {'true' if self.optional else 'false'}," if self.kind in _CHECKS else ""
        cell = f"{_CHECKS.get(self.kind, 'Given')}({value},{optional} {name}, at, parameter)"
        return cell if self.known is None else f"Known({cell}, {self.known}, {name}, at, parameter)"

    @property
    def cell(self) -> str:
        """The type of its cells."""
        return TYPES[self.kind]

    @property
    def values(self) -> tuple[str, ...]:
        """The values that are taken, when others are refused; what stands for a missing one is among them."""
        cells = [literal(cell, self.kind) for cell in self.feature.categories or ()]
        if self.optional:
            cells.append('""' if self.kind == "string" else f"{self.cell}.NaN")
        return tuple(dict.fromkeys(cells))

    @property
    def remarks(self) -> str:
        """What a person should know of it, in a sentence or two."""
        feature = self.feature
        said = [f"{feature.description.rstrip('.')}."] if feature.description else []
        if feature.unit:
            said.append(f"In {feature.unit}.")
        if feature.minimum is not None and feature.maximum is not None:
            said.append(f"In the sample from {feature.minimum:g} to {feature.maximum:g}.")
        if feature.categories is not None:
            shown = ", ".join(
                repr(cell) if isinstance(cell, str) else str(cell) for cell in feature.categories[:_SHOWN]
            )
            more = len(feature.categories) - _SHOWN
            said.append(f"Known: {shown}{f' and {more:,} more' if more > 0 else ''}.")
            said.append("Others are refused." if feature.unseen == "refused" else "Others score as none of them.")
        said.append("May be missing: null." if self.optional else "May not be missing.")
        return " ".join(said)

    def takes(self, cell: Scalar) -> bool:
        """Whether the client takes this cell of a golden row."""
        if cell == ("" if self.kind == "string" else "NaN") and self.optional:
            return True
        if cell == "NaN" and self.kind != "string":
            return False
        if isinstance(cell, str) and "\0" in cell:
            return False
        return self.known is None or cell in (self.feature.categories or ())

    def golden(self, cell: Scalar) -> str | None:
        """The value that a golden row gives it; None when there is none."""
        if self.optional and cell == ("" if self.kind == "string" else "NaN"):
            return None
        return literal(cell, self.kind)


@dataclass(frozen=True, slots=True)
class Member:
    """One output as a property of a result; `width` None means one cell a row."""

    name: str
    output: Output

    @property
    def width(self) -> int | None:
        """The number of cells, of a list."""
        wide = self.output.meaning in ("probabilities", "features") and self.output.width is not None
        return self.output.width if wide or (self.output.width or 1) > 1 else None

    @property
    def element(self) -> str:
        """The type of a cell."""
        return TYPES[self.output.type]

    @property
    def type(self) -> str:
        """The property's."""
        return self.element if self.width is None else f"IReadOnlyList<{self.element}>"

    @property
    def parameter(self) -> str:
        """The constructor's."""
        text = self.name[0].lower() + self.name[1:]
        return f"@{text}" if text in KEYWORDS else text

    @property
    def classes(self) -> tuple[str, ...]:
        """A classifier's classes, as C#."""
        return tuple(string(one) if isinstance(one, str) else f"{one}L" for one in self.output.classes or ())


@dataclass(frozen=True, slots=True)
class View:
    """All that the templates need to know of a contract; `notes` are sentences about names that had to be changed."""

    classes: Classes
    namespace: str
    properties: tuple[Property, ...]
    members: tuple[Member, ...]
    notes: tuple[str, ...]

    @property
    def by_class(self) -> Member | None:
        """The output with one cell for each class."""
        return next(
            (one for one in self.members if one.output.meaning == "probabilities" and len(one.classes) == one.width),
            None,
        )

    @property
    def class_type(self) -> str:
        """The type of a class: ``string`` or ``long``."""
        one = self.by_class
        return "string" if one is None or one.classes[0].startswith('"') else "long"


def view_of(contract: Contract, package: str) -> View:
    """The contract as C#, for a package of this id; raises ModelError for what no C# type can hold."""
    classes = Classes(stem_of(contract.name))
    named = identifiers(
        [feature.name for _, _, feature in contract.features], Style("pascal", _OBJECT | {classes.input, "FromValues"})
    )
    properties = tuple(
        _property(one, tensor, column, feature, contract.inputs.index(tensor))
        for one, (tensor, column, feature) in zip(named, contract.features, strict=True)
    )
    members = _members(contract.outputs, classes)
    return View(classes, namespace_of(package, classes), properties, members, collisions(named, "columns"))


def stem_of(name: str) -> str:
    """What the classes begin with: ``Churn`` for ``churn-model``, as its class is called ``ChurnModel`` anyway."""
    text = identifier(name, Style("pascal"))
    return text.removesuffix("Model") or text


def _property(named: Identifier, tensor: Input, column: int, feature: Feature, index: int) -> Property:
    floating = tensor.type in ("float32", "float64")
    if (feature.missing == "nan" and not floating) or (feature.missing == "empty" and tensor.type != "string"):
        raise ModelError(
            f"the column {feature.name!r} says that a missing value is written as {feature.missing!r}, and its tensor"
            f" {tensor.name!r} is of type {tensor.type}",
            hint="`lockship convert` writes the contract anew",
        )
    known = named.text if feature.categories is not None and feature.unseen == "refused" else None
    return Property(named.text, feature, tensor.type, index, column, None if known is None else f"Known{known}")


def _members(outputs: Sequence[Output], classes: Classes) -> tuple[Member, ...]:
    """Outputs are called by what they mean; when two mean the same, by their names."""
    meanings = [one.meaning for one in outputs]
    names = [
        _MEANINGS[one.meaning][Member("", one).width is not None] if meanings.count(one.meaning) == 1 else one.name
        for one in outputs
    ]
    reserved = _OBJECT | {classes.result, "ProbabilityOf"}
    return tuple(
        Member(named.text, output)
        for named, output in zip(identifiers(names, Style("pascal", reserved)), outputs, strict=True)
    )


def namespace_of(package: str, classes: Classes) -> str:
    """The id of a package as a namespace; parts that mean something else in C# get ``_`` behind them."""
    parts = []
    for part in package.replace("-", "_").split("."):
        text = f"_{part}" if part[0].isdigit() else part
        taken = text in KEYWORDS or text in _USED or text in classes.all
        parts.append(f"{text}_" if taken else text)
    return ".".join(parts)
