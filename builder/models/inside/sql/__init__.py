"""A model as a query, and rows with their scores to hold the query to.

`tree` has the expressions, `cells` what an element of a tensor is, `operators` the translation, `render` and `words`
the text; `postgres`, `sqlite` and `duckdb` are the dialects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.models.inside.problem import Problem

__all__ = ["DIALECTS", "run", "words_of"]

DIALECTS = ("postgres", "sqlite", "duckdb")


def words_of(dialect: str) -> Any:
    """The words of a dialect."""
    from builder.models.inside.sql.duckdb import DuckDB
    from builder.models.inside.sql.postgres import Postgres
    from builder.models.inside.sql.sqlite import SQLite

    return {"postgres": Postgres, "sqlite": SQLite, "duckdb": DuckDB}[dialect]()


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Translate ``job["onnx"]`` by ``job["contract"]`` into ``job["dialect"]``.

    The answer has the `query`, the same with another table as `gate`, what its columns are (`results`), and the rows
    that it is to be run on with the scores that onnxruntime has for them.
    """
    from builder.models.inside.sql.graph import read_graph
    from builder.models.inside.sql.query import Options, header, query, results
    from builder.models.inside.sql.rows import scored_rows
    from builder.models.inside.sql.translation import translation

    words = words_of(job["dialect"])
    contract = job["contract"]
    translated = translation(read_graph(job["onnx"]), contract)
    view = job.get("view")
    options = Options(tuple(job["table"]), tuple(job["keys"]), job.get("prefix", ""), tuple(view) if view else None)
    about = header(contract, job["contract_digest"], words, translated, options, job.get("verified", True))
    text = query(words, translated, options, about)
    if len(text.encode()) > words.largest:
        raise Problem(
            f"the query would have {len(text.encode()):,} bytes, and {words.title} was measured to plan at most "
            f"{words.largest:,} in reasonable time",
            hint="train fewer or shallower trees (a smaller max_depth or max_leaf_nodes), or score with the .onnx",
        )
    trial = Options(("lockship_gate",), ("lockship_row",), options.prefix, ("lockship_gate_view",) if view else None)
    rows = scored_rows(translated, contract, Path(job["onnx"]), job.get("sample"), job.get("seed", 0))
    return {
        "query": text,
        "gate": query(words, translated, trial, []),
        "results": [
            {"name": one.name, "meaning": one.meaning, "class": one.label}
            for one in results(words, translated, options)
        ],
        "columns": [{"name": one.title, "type": one.column.type} for one in translated.features],
        **rows,
    }
