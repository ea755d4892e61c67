"""What the tables of a project file have in common: how they are read, and the checks of paths and words."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

__all__ = ["Absolute", "Inside", "Section", "inside", "matching"]


class Section(BaseModel):
    """A table: frozen, and a key that it doesn't know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, populate_by_name=True)


def inside(value: str) -> str:
    """`value` if it is a path below the project's folder; raises ValueError for others."""
    parts = value.split("/")
    if value.startswith(("/", "~")) or "\\" in value or ".." in parts or "\0" in value or not value:
        raise ValueError("a path here is relative and may not leave the project's folder")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/") or "\0" in value:
        raise ValueError("a destination is an absolute path in the image, without '..'")
    return value


def matching(pattern: str, words: str) -> AfterValidator:
    """A check whose failure is said in words, not as a regular expression."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(words)
        return value

    return AfterValidator(check)


Inside = Annotated[str, AfterValidator(inside)]
Absolute = Annotated[str, AfterValidator(_absolute)]
