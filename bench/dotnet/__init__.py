"""Rows per second of the client that `lockship export dotnet` writes, built with a real SDK, on the real runtime."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measure import CommandError
from builder.cache import Cache
from builder.models.consumers.dotnet import package_of, render_dotnet
from builder.models.consumers.dotnet_view import view_of
from builder.models.contract import Contract

__all__ = ["rows_per_second"]

_PROGRAM = Path(__file__).parent / "Program.cs"


def rows_per_second(
    contract: Contract,
    model: bytes,
    rows: Mapping[str, Any],
    folder: Path,
    cache: Cache,
    *,
    batches: Sequence[int] = (100, 10_000),
    threads: int = 0,
    seconds: float = 1.0,
    rounds: int = 5,
) -> dict[str, Any]:
    """Build the client of `contract` in `folder` and measure it with `rows`, arrays by tensor's name.

    Single rows and each of `batches`, `rounds` times for `seconds` each after as much warming up as half a round, on
    `threads` threads of onnxruntime (0: its default). A JSON document: ``runtime``, ``threads`` and ``batches``, by
    size (``"1"`` is `Predict` of one row), with the ``median`` rows per second and that of each round. `cache` keeps
    the SDK. Raises CommandError when there is no SDK or something fails.
    """
    from tests.support.dotnet import RUNTIME, DotnetError, dotnet_toolchain, obstacle
    from tests.support.dotnet_programs import reading, write_rows

    if lacking := obstacle():
        raise CommandError(f".NET: {lacking}")
    package = package_of(contract)
    view = view_of(contract, package.id)
    names = view.classes
    source = folder / "source"
    for path, data in render_dotnet(contract, model, package).files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    aliases = f"using Model = {view.namespace}.{names.model};\nusing Row = {view.namespace}.{names.input};\n"
    (source / "Program.cs").write_text(aliases + _PROGRAM.read_text())
    (source / "Rows.cs").write_text(reading(contract, view))
    write_rows(folder / "rows", contract, view, rows)
    library = source / "src" / package.id
    arguments = [folder / "rows", seconds, rounds, threads, *batches]
    try:
        dotnet = dotnet_toolchain(cache, os.environ)
        client = dotnet.compile(
            folder / "library" / f"{package.id}.dll",
            sorted(library.glob("*.cs")),
            references=[dotnet.reference],
            resources={f"{package.id}.model.onnx": library / "model.onnx"},
            options=["-target:library", "-warnaserror+"],
        )
        program = dotnet.program(folder / "run", [source / "Program.cs", source / "Rows.cs"], references=[client])
        said = dotnet.run(program, *map(str, arguments))
    except DotnetError as error:
        raise CommandError(f".NET: {error}") from error
    rates: dict[str, list[float]] = json.loads(said)
    return {
        "runtime": RUNTIME,
        "threads": threads,
        "batches": {size: {"median": statistics.median(found), "rounds": found} for size, found in rates.items()},
    }
