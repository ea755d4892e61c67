"""A contract as a Java developer sees it: properties, types and sentences for the templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from builder.models.consumers.identifiers import Style, collisions, identifiers
from builder.models.consumers.java_names import label_names, property_names
from builder.models.consumers.java_text import html, java
from builder.models.contract import Contract, Feature, Input, Output, TensorType

__all__ = ["Accessor", "Label", "Property", "accessors", "is_optional", "labels", "notices", "properties"]

TYPES: Final[dict[TensorType, str]] = {
    "float32": "float",
    "float64": "double",
    "int64": "long",
    "string": "String",
    "bool": "boolean",
}
_BOXED: Final = {"float": "Float", "double": "Double", "long": "Long", "boolean": "Boolean"}
_ONE_OR_MANY: Final = {
    "label": ("label", "labels"),
    "probabilities": ("probability", "probabilities"),
    "scores": ("score", "scores"),
    "value": ("value", "values"),
    "features": ("feature", "features"),
}
_SHOWN: Final = 12
"""How many categories a comment names."""


@dataclass(frozen=True, slots=True)
class Property:
    """One feature: the property's `name`, its Java `type`, its `slot` among the values of that type, and what is said.

    `about` is Javadoc: sentences. `unit` is too, and empty when none is known.
    """

    name: str
    feature: str
    index: int
    kind: TensorType
    slot: int
    optional: bool
    about: tuple[str, ...]
    unit: str

    @property
    def type(self) -> str:
        """What the getter returns."""
        return TYPES[self.kind]

    @property
    def parameter(self) -> str:
        """What the setter takes: a double is at hand where a float would need a suffix or a cast."""
        return "double" if self.kind == "float32" else self.type


@dataclass(frozen=True, slots=True)
class Accessor:
    """One output: `output` is the tensor's name, `one` and `many` what a value and all of them are called.

    `classes` are literals, in the order of the columns; empty where columns have no names.
    """

    output: str
    one: str
    many: str
    kind: TensorType
    width: int
    meaning: str
    classes: tuple[str, ...]
    class_type: str

    @property
    def type(self) -> str:
        """The Java type of one value."""
        return TYPES[self.kind]

    @property
    def boxed(self) -> str:
        """The same as a reference."""
        return _BOXED.get(self.type, self.type)

    @property
    def boxed_class(self) -> str:
        """The type of a class as a reference."""
        return _BOXED.get(self.class_type, self.class_type)

    @property
    def is_many(self) -> bool:
        """Whether a row has several."""
        return self.width > 1

    @property
    def field(self) -> str:
        """What holds it."""
        return self.many if self.is_many else self.one


@dataclass(frozen=True, slots=True)
class Label:
    """A class of a classifier: the constant's name, its literal, and the text for its comment."""

    name: str
    literal: str
    about: str


def is_optional(tensor: Input, feature: Feature) -> bool:
    """Whether a value may be missing, which floating numbers and text alone have a way to say."""
    return feature.missing == ("empty" if tensor.type == "string" else "nan") and tensor.type not in ("int64", "bool")


def properties(contract: Contract) -> tuple[Property, ...]:
    """The features, in order."""
    slots: Counter[str] = Counter()
    found = []
    names = property_names(feature.name for _, _, feature in contract.features)
    for index, ((tensor, _, feature), name) in enumerate(zip(contract.features, names, strict=True)):
        optional = is_optional(tensor, feature)
        about = tuple(_sentences(tensor, feature, optional))
        unit = html(feature.unit or "")
        found.append(
            Property(name.text, feature.name, index, tensor.type, slots[tensor.type], optional, about, unit)
        )  # fmt: skip
        slots[tensor.type] += 1
    return tuple(found)


def _sentences(tensor: Input, feature: Feature, optional: bool) -> Iterator[str]:
    """What is known of a feature, as Javadoc."""
    if feature.description:
        text = html(feature.description)
        yield text if text.endswith((".", "!", "?")) else f"{text}."
    if feature.minimum is not None and feature.maximum is not None:
        yield f"From {feature.minimum:g} to {feature.maximum:g} in the data that it was checked with."
    if feature.categories is not None:
        named = ", ".join(f"<code>{html(str(one))}</code>" for one in feature.categories[:_SHOWN])
        more = len(feature.categories) - _SHOWN
        yield f"Known values: {named}{f' and {more:,} more' if more > 0 else ''}."
        if feature.unseen == "refused":
            yield "Any other is refused."
        elif feature.unseen == "ignored":
            yield "Any other counts as none of these."
    if optional:
        yield "May be left out: the model was made for its being missing."


def accessors(contract: Contract) -> tuple[Accessor, ...]:
    """The outputs, named by what they mean; by their own names where two mean the same."""
    meanings = Counter(output.meaning for output in contract.outputs)
    reserved = frozenset(word for words in _ONE_OR_MANY.values() for word in words)
    repeated = [output.name for output in contract.outputs if meanings[output.meaning] > 1]
    own = dict(zip(repeated, property_like(repeated, reserved), strict=True))
    # one list of classes is a constant; what has other ones is an array
    known = next((output.classes for output in contract.outputs if output.classes and (output.width or 1) > 1), None)
    return tuple(_accessor(output, own.get(output.name), known) for output in contract.outputs)


def property_like(names: Sequence[str], reserved: frozenset[str]) -> tuple[str, ...]:
    """Names for outputs that are not to be confused with `reserved`."""
    keywords = Style("camel", reserved | {"toString", "equals", "hashCode", "getClass", "notify", "wait", "classes"})
    return tuple(one.text for one in identifiers(names, Style("camel", keywords.reserved, prefix="output")))


def _accessor(output: Output, own: str | None, known: tuple[int | str, ...] | None) -> Accessor:
    one, many = (own, own) if own is not None else _ONE_OR_MANY[output.meaning]
    width = output.width or 1
    classes = output.classes or ()
    named = width > 1 and len(classes) == width and classes == known and output.type != "string"
    return Accessor(
        output.name,
        one,
        many,
        output.type,
        width,
        output.meaning,
        tuple(java(name) for name in classes) if named else (),
        "String" if any(isinstance(name, str) for name in classes) else "long",
    )


def labels(contract: Contract) -> tuple[Label, ...]:
    """The classes of the label, when it is of one row's and they are known."""
    output = contract.output("label")
    if output is None or not output.classes or output.type not in ("string", "int64"):
        return ()
    names = label_names(output.classes)
    return tuple(
        Label(name.text, java(one), f"<code>{html(str(one))}</code>")
        for name, one in zip(names, output.classes, strict=True)
    )


def notices(contract: Contract) -> Iterator[str]:
    """What people should know who wrote the names."""
    yield from collisions(property_names(feature.name for _, _, feature in contract.features), "features")
    output = contract.output("label")
    if output is not None and output.classes:
        yield from collisions(label_names(output.classes), "classes")
