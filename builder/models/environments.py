"""What the environments contain that models are loaded, converted and scored in. Pure: nothing is installed here.

Three kinds: the project's own, exactly its lock; the converter's, which is the project's with the converters on top;
a consumer's, which has one onnxruntime and a NumPy that it was built for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.version import Version

from builder.content import canonical_json

__all__ = ["CONVERTER_LOCK", "NUMPY_LOCK", "Environment", "Package", "consumer", "converter", "project"]

_HERE: Final = Path(__file__).parent
CONVERTER_LOCK: Final = _HERE / "converter.lock"
"""The converters' own packages with hashes, for every Python that models are converted under."""
NUMPY_LOCK: Final = _HERE / "numpy1.lock"
"""The last NumPy 1, for what was built before NumPy 2."""

FORMAT: Final = 1  # goes up when environments are made in another way

# What the converters were tested with, whatever the project has: protobuf above all, whose newer versions take no
# bools for integers. The original model never runs here, so the project's own versions of these don't matter.
_OURS: Final = frozenset(
    (
        "ml-dtypes", "onnx", "onnx-ir", "onnxconverter-common", "onnxmltools", "onnxruntime", "onnxscript", "protobuf",
        "skl2onnx",
    )
)  # fmt: skip
# What the model is made of: the project's version counts, if it has one.
_THEIRS: Final = frozenset(
    (
        "joblib", "narwhals", "numpy", "pandas", "pyarrow", "python-dateutil", "pytz", "scikit-learn", "scipy",
        "skops", "threadpoolctl", "tzdata",
    )
)  # fmt: skip
# Converts PyTorch's exported programs: nobody else needs it.
_FOR_TORCH: Final = frozenset(("onnxscript", "onnx-ir"))
_NUMPY_2: Final = (1, 19)  # the first onnxruntime that was built for NumPy 2


@dataclass(frozen=True, slots=True)
class Package:
    """A pin with the sha256 of every file that may be installed for it; `name` is normalised (PEP 503)."""

    name: str
    version: str
    hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment as a value: what people call it, its interpreter, and its packages.

    `from_source` names packages that have no wheel and that the project allowed to be built. `beneath` are those that
    the interpreter brings, a conda environment's; what is among `packages` hides them.
    """

    title: str
    python: str
    packages: tuple[Package, ...]
    from_source: tuple[str, ...] = ()
    beneath: tuple[Package, ...] = ()

    @property
    def key(self) -> str:
        """64 hex digits: the same packages under the same interpreter are the same environment."""
        pins = [[one.name, one.version, sorted(one.hashes)] for one in self.packages]
        below = ["beneath"] if self.beneath else []  # which packages those are, the interpreter's identity says
        return hashlib.sha256(canonical_json([FORMAT, self.python, pins, sorted(self.from_source), *below])).hexdigest()

    @property
    def requirements(self) -> str:
        """In pip's hash-checking format: what isn't pinned here can't get in."""
        return "".join(
            " \\\n    ".join([f"{one.name}=={one.version}", *(f"--hash={digest}" for digest in sorted(one.hashes))])
            + "\n"
            for one in self.packages
        )

    def version(self, name: str) -> str | None:
        """The version of a package, or None when it isn't in."""
        return next((one.version for one in (*self.packages, *self.beneath) if one.name == name), None)


def project(
    python: str, pins: Iterable[Package], from_source: Iterable[str] = (), beneath: Iterable[Package] = ()
) -> Environment:
    """The project's own environment: its lock, and nothing else."""
    return Environment("the project's environment", python, _sorted(pins), tuple(sorted(from_source)), _sorted(beneath))


def converter(
    python: str,
    pins: Iterable[Package],
    own: Iterable[Package],
    from_source: Iterable[str] = (),
    beneath: Iterable[Package] = (),
) -> Environment:
    """The project's packages with the converters' own (`own`) on top.

    Where both have one: the converters and what they are fussy about are ours, what the model is made of is the
    project's, and of helpers the newer version serves both.
    """
    below = {one.name: one for one in beneath}
    chosen = {one.name: one for one in pins}
    torch = "torch" in {**below, **chosen}
    for one in own:
        theirs = chosen.get(one.name, below.get(one.name))
        if one.name in _FOR_TORCH and not torch:
            continue
        if theirs is None or one.name in _OURS or (one.name not in _THEIRS and _is_newer(one, theirs)):
            chosen[one.name] = one
    return Environment(
        "the converter's environment", python, _sorted(chosen.values()), tuple(sorted(from_source)),
        _sorted(below.values()),
    )  # fmt: skip


def consumer(python: str, runtime: Package, numpys: Mapping[int, Package]) -> Environment:
    """One onnxruntime with its NumPy; `numpys` are candidates by their major version."""
    release = Version(runtime.version).release
    numpy = numpys.get(1 if release < _NUMPY_2 else 2, numpys[2])
    return Environment(f"onnxruntime {runtime.version}", python, _sorted((runtime, numpy)))


def _is_newer(one: Package, other: Package) -> bool:
    return Version(one.version) > Version(other.version)


def _sorted(packages: Iterable[Package]) -> tuple[Package, ...]:
    return tuple(sorted(packages, key=lambda one: one.name))
