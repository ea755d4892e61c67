"""Which tags are versions that people gave, and which have a meaning of their own."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from builder.releases.journal import is_journal_tag
from builder.releases.record import is_record_tag

__all__ = ["RESERVED", "is_version"]

RESERVED: Final = (".release", ".onnx", ".sig", ".att", ".sbom")
"""Endings of tags of records, models, and what cosign puts beside images."""

_OF_DIGESTS: Final = re.compile(r"sha256-[0-9a-f]{64}(\..+)?")


def is_version(tag: str, stages: Container[str] = ()) -> bool:
    """Whether `tag` is a version's: not that of a stage, a journal's entry, a record, a model, a signature."""
    if tag in stages or is_journal_tag(tag) or is_record_tag(tag) or tag.endswith(RESERVED):
        return False
    return _OF_DIGESTS.fullmatch(tag) is None
