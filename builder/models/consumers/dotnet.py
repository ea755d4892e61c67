"""A converted model as a C# project and a source-only NuGet package: a typed client over ``Microsoft.ML.OnnxRuntime``.

A pure function of the contract, the model's bytes and the package's name. Nothing is run here, and no SDK is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.errors import ModelError, UsageError
from builder.models.consumers import dotnet_text as text
from builder.models.consumers.dotnet_nupkg import Package, content_path, nupkg
from builder.models.consumers.dotnet_view import Member, Property, View, stem_of, view_of
from builder.models.contract import Contract, Scalar
from builder.templating import render

__all__ = ["SIGN", "DotnetProject", "package_of", "render_dotnet"]

SIGN: Final = ("README.md", "Written by lockship export dotnet")
"""A file of every project, and a text that is in it."""

_SOURCES: Final = ("Model", "SelfTest", "Input", "Result", "Tensors")
_MOST: Final = 5_000  # features: the self-test sets each, in one method
_ID: Final = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")  # NuGet: PackageIdValidator, within ASCII
_LONGEST_ID: Final = 100
_VERSION: Final = re.compile(
    r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:\.(\d+))?((?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)(\+[0-9A-Za-z.-]+)?"
)
_RELEASE: Final = re.compile(r"\d+\.\d+\.\d+")
_ABOUT: Final = {
    "label": "What the model decides.",
    "probabilities": "The probability of each class",
    "scores": "The model's raw scores.",
    "value": "What the model predicts.",
    "features": "What the model makes of the row.",
}


@dataclass(frozen=True, slots=True)
class DotnetProject:
    """The files of a C# project, by path; `nupkg` is that of the source-only package, `client` its class's full name.

    `notices` are for whoever exports it.
    """

    package: Package
    client: str
    files: Mapping[str, bytes]
    nupkg: str
    notices: tuple[str, ...]


def package_of(
    contract: Contract,
    *,
    package: str | None = None,
    version: str | None = None,
    runtime: str | None = None,
    authors: str | None = None,
) -> Package:
    """What the NuGet package is called, with defaults from the contract, and the onnxruntime that it depends on.

    `runtime` is a release of Microsoft.ML.OnnxRuntime; by default that of the oldest ``dotnet-X.Y`` among the
    model's consumers, or the oldest that reads the model. Raises UsageError for what NuGet or the model can't take,
    ModelError when no onnxruntime that we know reads it.
    """
    name = package or _default_id(contract)
    if not _ID.fullmatch(name) or len(name) > _LONGEST_ID:
        raise UsageError(
            f"not a NuGet package id: {name[:60]!r}", hint="letters, digits and _, parted by . or -: Acme.Churn"
        )
    return Package(name, _normal(version or contract.version), _runtime(contract, runtime), authors or name)


def render_dotnet(contract: Contract, model: bytes, package: Package) -> DotnetProject:
    """The project for `model`, whose contract is `contract`.

    Raises ModelError for a model that a typed client can't be made for, with the reason.
    """
    view = view_of(contract, package.id)
    _check(contract, view)
    names = view.classes
    values = _values(contract, view, package)
    sources = {f"{_file(names.stem)}{kind}.cs": render(f"dotnet/{kind}.cs.j2", values).encode() for kind in _SOURCES}
    hidden = {
        name: render(f"dotnet/{kind}.cs.j2", {**values, "access": "internal"}).encode()
        for name, kind in zip(sources, _SOURCES, strict=True)
    }
    readme = render("dotnet/README.md.j2", values).encode()
    document = contract.to_json()
    archive = nupkg(
        package,
        {
            **{content_path(package, name): data for name, data in hidden.items()},
            "model/model.onnx": model,
            "contract.json": document,
            "README.md": readme,
            f"build/{package.id}.targets": render("dotnet/package.targets.j2", values).encode(),
        },
        values,
    )
    main, tests = f"src/{package.id}", f"tests/{package.id}.Tests"
    files = {
        "README.md": readme,
        ".gitignore": b"bin/\nobj/\n",
        f"{main}/{package.id}.csproj": render("dotnet/project.csproj.j2", values).encode(),
        f"{main}/README.md": readme,
        f"{main}/contract.json": document,
        f"{main}/model.onnx": model,
        **{f"{main}/{name}": data for name, data in sources.items()},
        f"{tests}/{package.id}.Tests.csproj": render("dotnet/tests.csproj.j2", values).encode(),
        f"{tests}/ContractTests.cs": render("dotnet/ContractTests.cs.j2", values).encode(),
        package.file: archive,
    }
    left_out = contract.rows - len(values["rows"])
    notices = view.notes
    if left_out:
        notices += (f"{left_out} of {contract.rows} golden rows hold what .NET can't pass on: not in the self-test",)
    return DotnetProject(package, f"{view.namespace}.{names.model}", dict(sorted(files.items())), package.file, notices)


def _default_id(contract: Contract) -> str:
    """What the classes begin with; ids are ASCII, so a name in another script gives none."""
    stem = stem_of(contract.name)
    return stem if stem.isascii() else "OnnxModel"


def _file(stem: str) -> str:
    """What files are called: in ASCII, for OPC has rules of its own for the rest."""
    return stem if stem.isascii() else ""


def _normal(version: str) -> str:
    """As NuGet writes it: three numbers without zeros in front, a fourth unless it is 0 ("Normalized versions")."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise UsageError(f"NuGet takes no version like {version!r}", hint="name one: --version 1.4.0")
    major, minor, patch, fourth, label, _ = found.groups()
    numbers = [int(major), int(minor), int(patch or 0), *([int(fourth)] if fourth and int(fourth) else [])]
    return ".".join(map(str, numbers)) + label


def _runtime(contract: Contract, asked: str | None) -> str:
    least = contract.runtime.minimum
    if not re.fullmatch(r"\d+(\.\d+)+", least):
        raise ModelError(
            f"{contract.name} needs an onnxruntime {least}", hint="declare an older consumer and convert it again"
        )
    if asked is not None and not _RELEASE.fullmatch(asked):
        raise UsageError(f"not a release of Microsoft.ML.OnnxRuntime: {asked!r}", hint="write it in full, like 1.20.1")
    declared = [one.removeprefix("dotnet-") for one in contract.runtime.consumers if one.startswith("dotnet-")]
    chosen = asked or min(declared, key=_numbers, default=least)
    if _numbers(chosen) < _numbers(least):
        raise UsageError(
            f"onnxruntime {chosen} can't read {contract.name}: it needs {least}",
            hint="name a newer one, or declare an older consumer and run `lockship convert`",
        )
    return ".".join(map(str, (*_numbers(chosen), 0)[:3]))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _check(contract: Contract, view: View) -> None:
    if not _golden(contract, view):
        raise ModelError(
            f"the contract of {contract.name} has no golden rows that the client would take: its self-test would check"
            " nothing",
            hint="run `lockship convert` with a sample",
        )
    if len(view.properties) > _MOST:
        raise ModelError(
            f"{contract.name} has {len(view.properties):,} features, and a typed client takes {_MOST:,}",
            hint="use the .onnx itself with Microsoft.ML.OnnxRuntime: `lockship export onnx`",
        )


def _golden(contract: Contract, view: View) -> list[int]:
    """The golden rows that the client takes: .NET can't pass a NUL on, for one."""
    return [
        index
        for index in range(contract.rows)
        if all(one.takes(_cell(contract, one, index)) for one in view.properties)
    ]


def _cell(contract: Contract, one: Property, index: int) -> Scalar:
    return contract.golden.inputs[contract.inputs[one.tensor].name][index][one.column]


def _values(contract: Contract, view: View, package: Package) -> dict[str, Any]:
    name, version = text.plain(contract.name), text.plain(contract.version)
    description = contract.description or f"The model {contract.name}."
    checked = "\n".join(one.checked for one in view.properties)
    golden = _golden(contract, view)
    rows = [list(_row(contract, view, index)) for index in golden]
    wide = contract.inputs[0] if len(contract.inputs) == 1 and len(contract.inputs[0].features) > 1 else None
    return {
        "access": "public",
        "package": package,
        "contract": contract,
        "view": view,
        "names": view.classes,
        "mark": f"{SIGN[1]} from the model {name}, version {version}. Don't edit it: export it again.",
        "summary": f"{description.rstrip('.')}. Scores with the model {contract.name}, version {contract.version}.",
        "description": description,
        "resource": f"{package.id}.model.onnx",
        "about": [_about(member) for member in view.members],
        "array": None if wide is None else view.properties[0].type.removesuffix("?"),
        "rows": rows,
        "shown": [[(key, re.sub(r"(?<=\d)[fdL]$", "", value)) for key, value in rows[0]]],
        "results": [list(_result(contract, view, index)) for index in golden],
        "required": next((one for one in view.properties if not one.optional), None),
        "refused": list(_refused(view)),
        "types": text.TYPES,
        "uses": lambda call: call in checked,
        "double": lambda value: text.literal(value, "float64"),
        "quoted": lambda value: f"'{value}'",
        "string": text.string,
        "xml": text.xml,
        "comment": text.comment,
        "msbuild": text.msbuild,
        "md": text.markdown,
        "code": text.code,
    }


def _about(member: Member) -> str:
    classes = member.output.classes
    said = _ABOUT[member.output.meaning]
    if member.output.meaning == "probabilities":
        named = f": {', '.join(map(str, classes))}." if classes and len(classes) <= 12 else "."
        return said + named
    if classes and len(classes) <= 12:
        return f"{said} One of {', '.join(map(str, classes))}."
    return said


def _row(contract: Contract, view: View, index: int) -> Iterator[tuple[str, str]]:
    """The properties that a golden row sets, with their values."""
    for one in view.properties:
        if (value := one.golden(_cell(contract, one, index))) is not None:
            yield one.name, value


def _result(contract: Contract, view: View, index: int) -> Iterator[str]:
    """The arguments of a golden row's result."""
    for member in view.members:
        cells: tuple[Scalar, ...] = contract.golden.outputs[member.output.name][index]
        values = [text.literal(cell, member.output.type) for cell in cells]
        yield values[0] if member.width is None else f"new {member.element}[] {{ {', '.join(values)} }}"


def _refused(view: View) -> Iterator[tuple[Property, str, str]]:
    """One example of each kind of value that the client refuses: property, value, and what such values are called."""
    seen = set()
    for one in view.properties:
        cases = []
        if one.kind in ("float32", "float64") and not one.optional:
            cases.append(("double.NaN", "Missing numbers"))
        if one.kind == "string":
            cases.append(('"a\\0b"', "Texts with a NUL"))
            if not one.optional:
                cases.append(("null!", "Missing texts"))
            if one.known:
                cases.append((text.string("\N{ZERO WIDTH SPACE}never seen"), "Unknown texts"))
        for value, why in cases:
            if why not in seen:
                seen.add(why)
                yield one, value, why
