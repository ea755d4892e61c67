"""Run one job: a JSON document names the operation and its parameters; another one is the answer.

The answer is ``{"result": …}`` or ``{"problem": {"message", "hint", "details"}}``. Whatever models print goes to
stderr. Warnings of other people's libraries are theirs.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from builder.models.inside.problem import Problem

__all__ = ["OPERATIONS", "answer", "main"]

# An operation is a module beside this one with a function `run(job)`, which returns JSON values or raises Problem.
OPERATIONS = ("load", "sample", "explain", "convert", "rows", "reference", "score", "compare", "steps", "sql")


def answer(job: dict[str, object]) -> dict[str, object]:
    """Do what `job` says."""
    operation = job["operation"]
    if operation not in OPERATIONS:
        raise ValueError(f"no such operation: {operation!r}")
    try:
        return {"result": import_module(f"builder.models.inside.{operation}").run(job)}
    except Problem as problem:
        return {"problem": {"message": problem.message, "hint": problem.hint, "details": problem.details}}


def main() -> None:
    """Read the job from stdin, write the answer to the file that the first argument names."""
    job = json.load(sys.stdin)
    os.dup2(2, 1)  # nothing that is printed in here is an answer
    document = answer(job)
    Path(sys.argv[1]).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main()
