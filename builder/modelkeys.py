"""`[model]` and `[models.NAME]`: a model, what it is read from, for whom it is converted, and where the results are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from builder.sections import Absolute, Inside, Section, matching

__all__ = ["FORMATS", "Bounds", "Column", "Files", "Model"]

Format = Literal["skops", "pickle", "joblib", "xgboost", "lightgbm", "catboost", "onnx", "torch"]
EntryPoint = Annotated[
    str, matching(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", 'a function is written like "package.module:function"')
]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}", "a sha256 is 64 hex digits, as `sha256sum` prints them")]

FORMATS: Final[dict[str, Format]] = {
    ".skops": "skops",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".joblib": "joblib",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".cbm": "catboost",
    ".onnx": "onnx",
    ".pt2": "torch",
}


class Bounds(Section):
    """`tolerance`: how far a converted model's numbers may be off, ``absolute + relative * abs(expected)``."""

    absolute: Annotated[FiniteFloat, Field(ge=0)] = 1e-5
    relative: Annotated[FiniteFloat, Field(ge=0)] = 1e-4


class Column(Section):
    """`inputs.COLUMN`: what a column means and how it is passed, where the data don't say."""

    type: Literal["float32", "float64", "int64", "string", "bool"] | None = None
    missing: Literal["nan", "empty", "refused"] | None = None
    unit: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """What a conversion leaves, as paths relative to the project."""

    onnx: str
    contract: str
    parity: str
    report: str


class Model(Section):
    """One model: a file, or a function of the project that returns it.

    A file is put into the image as it is when its name says nothing of a format, or when it is an ``.onnx`` of
    which nothing but `target` is said. All others are converted, and the result is what the image gets. Without
    `target` it goes to ``/app/`` and its file's name.
    """

    source: Inside | None = None
    entry: EntryPoint | None = None
    format: Format | None = None
    target: Absolute | None = None
    output: Inside | None = None
    description: str | None = None
    sample: Inside | None = None
    drop: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    precision: Literal["float32", "double+cast"] = "float32"
    tolerance: Bounds = Bounds()
    preprocessing: Literal["included", "elsewhere"] | None = None
    raw_scores: bool = Field(default=False, alias="raw-scores")
    inputs: dict[str, Column] = Field(default_factory=dict)
    converters: tuple[EntryPoint, ...] = ()
    trusted: tuple[str, ...] = ()
    allow_pickle: bool = Field(default=False, alias="allow-pickle")
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.source is None) == (self.entry is None):
            raise ValueError('needs either source = "FILE" or entry = "module:function"')
        if self.entry is not None and self.format is not None:
            raise ValueError("format is that of a file; what an entry returns needs none")
        if self._asked and self.kind is None:
            raise ValueError(f"the format of {self.source} can't be told by its name: say format = …")
        return self

    @property
    def _asked(self) -> bool:
        """Whether anything is said that only a conversion is about."""
        return bool(self.model_fields_set - {"source", "target"})

    @property
    def kind(self) -> Format | Literal["entry"] | None:
        """What it is read as; None for a file that nothing is known about."""
        if self.source is None:
            return "entry"
        name = self.source.rpartition("/")[2].lower()
        return self.format or FORMATS.get(name[name.rfind(".") :] if "." in name else "")

    @property
    def is_converted(self) -> bool:
        """Whether the image gets what `lockship convert` makes of it, not the file itself."""
        return self.kind is not None and (self.kind != "onnx" or self._asked)

    def files(self, name: str) -> Files:
        """Where the results are for the model called `name`: in `output`, or beside the source."""
        folder = self.output if self.output is not None else (self.source or "").rpartition("/")[0]
        stem = f"{folder.rstrip('/')}/{name}" if folder.strip("./") else name
        return Files(f"{stem}.onnx", f"{stem}.contract.json", f"{stem}.parity.json", f"{stem}.parity.html")

    def destination(self, name: str) -> str:
        """The absolute path in the image of what the image gets."""
        if self.target is not None:
            return self.target
        shipped = self.files(name).onnx if self.is_converted else self.source or ""
        return "/app/" + shipped.rpartition("/")[2]
