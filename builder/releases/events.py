"""What a journal's entries say: one event each, as values and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

from builder.content import Digest, canonical_json
from builder.errors import LockshipError, VerificationError

__all__ = ["ACTIONS", "OUTCOMES", "Event", "Kind", "parse_event", "unsigned"]

Kind = Literal[
    "release", "approve", "promote", "rollback", "return",
    "moved", "healthy", "unhealthy", "abandoned", "collect",
]  # fmt: skip

ACTIONS: Final = ("promote", "rollback", "return")
"""Kinds that say what is about to be done to a stage: written before its tag moves."""

OUTCOMES: Final = ("moved", "healthy", "unhealthy", "abandoned")
"""Kinds that say what became of an action, which `Event.of` names."""

_SCHEMA: Final = "dev.lockship.journal/v1"
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_LONGEST: Final = 4000  # characters of any one text
_KEYS: Final = ("by", "where", "stage", "version", "previous_version")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a release or a stage.

    `at` is RFC 3339 in UTC, by the clock of whoever wrote it; `by` a person or a robot, `where` a job's address or a
    machine. `digest` is the release's index, `previous` what the stage had before. `of` names the action that an
    outcome belongs to. `notes` are JSON values: whatever else should be known.
    """

    kind: Kind
    at: str
    by: str
    where: str = ""
    stage: str | None = None
    version: str | None = None
    digest: Digest | None = None
    previous: Digest | None = None
    previous_version: str | None = None
    of: Digest | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without what isn't said."""
        found = {
            "schema": _SCHEMA,
            "kind": self.kind,
            "at": self.at,
            "by": self.by,
            "where": self.where or None,
            "stage": self.stage,
            "version": self.version,
            "digest": self.digest,
            "previous": self.previous,
            "previous_version": self.previous_version,
            "of": self.of,
            "notes": dict(self.notes) or None,
        }
        return {key: value for key, value in found.items() if value is not None}


def unsigned(event: Event) -> bytes:
    """The bytes of `event` that a signature is over."""
    return canonical_json(event.to_json())


def parse_event(text: str) -> Event:
    """The event that `text` is; raises VerificationError for anything else."""
    try:
        text.encode()  # half a surrogate pair is JSON, and no text: it can be neither signed nor shown
        document = json.loads(text)
        if document.pop("schema") != _SCHEMA:
            raise VerificationError("it is written by a newer lockship", hint="take the newest lockship")
        if document["kind"] not in get_args(Kind) or not _TIME.fullmatch(document["at"]):
            raise VerificationError("it says nothing that lockship knows")
        datetime.fromisoformat(document["at"])  # the 30th of February is no moment
        for key in ("digest", "previous", "of"):
            if key in document:
                document[key] = Digest(document[key])
        texts = [document[key] for key in _KEYS if key in document]
        if not all(isinstance(one, str) and len(one) <= _LONGEST for one in texts):
            raise VerificationError("it says nothing that lockship knows")
        if not isinstance(document.get("notes", {}), dict):
            raise VerificationError("its notes are none")
        event = Event(**document)
        if "\\u" in text:  # there may be one behind an escape, too
            unsigned(event)
        return event
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError("it is no event") from error
    except LockshipError as error:
        raise VerificationError(error.message, hint=error.hint) from error
