"""A database's schema as a value: what is in it, in one order, with one digest; no rows, no users, no host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from builder.content import Digest, canonical_json
from builder.errors import VerificationError
from builder.words import plural

__all__ = [
    "Column",
    "ForeignKey",
    "Index",
    "Schema",
    "Table",
    "Unique",
    "View",
    "schema_from_json",
]


class _Value(BaseModel):
    # what a newer lockship adds is passed over: an old one must still be able to roll back
    model_config = ConfigDict(extra="ignore", frozen=True)


class Column(_Value):
    """A column; `type` and `default` as the database writes them. A generated value counts as a default."""

    name: str
    type: str
    nullable: bool = True
    default: str | None = None

    def __str__(self) -> str:
        missing = "" if self.nullable else " NOT NULL"
        return f"{self.type}{missing}{f' DEFAULT {self.default}' if self.default is not None else ''}"


class ForeignKey(_Value):
    """`columns` point to `target_columns` of the table `target`; `options` like ``ON DELETE CASCADE``."""

    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...] = ()
    options: str = ""

    @property
    def name(self) -> str:
        """What it says: databases make up names of their own."""
        options = f" {self.options}" if self.options else ""
        return f"({', '.join(self.columns)}) -> {self.target} ({', '.join(self.target_columns)}){options}"


class Unique(_Value):
    """A unique constraint."""

    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it says: databases make up names of their own."""
        return f"({', '.join(self.columns)})"


class Index(_Value):
    """An index. `columns` may be expressions; `where` is the condition of a partial one."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    where: str = ""

    def __str__(self) -> str:
        where = f" WHERE {self.where}" if self.where else ""
        return f"{'UNIQUE ' if self.unique else ''}({', '.join(self.columns)}){where}"


class Table(_Value):
    """A table. Columns are in the order of their names: two ways to the same table make one schema.

    `others` are names of columns that were there too when a release that needs only some was made.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    uniques: tuple[Unique, ...] = ()
    indexes: tuple[Index, ...] = ()
    others: tuple[str, ...] = ()

    @field_validator("columns", "foreign_keys", "uniques", "indexes")
    @classmethod
    def _sorted(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return _in_order(value)


class View(_Value):
    """A view: `definition` is the sha256 of its text, as the database gives it; `others` as those of a table."""

    name: str
    definition: str
    columns: tuple[Column, ...] = ()
    others: tuple[str, ...] = ()

    @field_validator("columns")
    @classmethod
    def _sorted(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return _in_order(value)


class Schema(_Value):
    """What a database holds. `dialect` in SQLAlchemy's words: ``postgresql``, ``sqlite``.

    `namespace` is what the database calls a schema (None: its default one); `revisions` are Alembic's, if it is used.
    """

    dialect: str
    namespace: str | None = None
    tables: tuple[Table, ...] = ()
    views: tuple[View, ...] = ()
    revisions: tuple[str, ...] = ()

    @field_validator("tables", "views")
    @classmethod
    def _sorted(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return _in_order(value)

    @field_validator("revisions")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(value)))

    @property
    def relations(self) -> tuple[Table | View, ...]:
        """Tables, then views."""
        return (*self.tables, *self.views)

    @property
    def digest(self) -> Digest:
        """Of dialect, tables and views: the same whatever migrations led there, whatever the namespace's name."""
        document = self.model_dump(
            mode="json",
            include={"dialect", "tables", "views"},
            exclude={"tables": {"__all__": {"others"}}, "views": {"__all__": {"others"}}},
        )
        return Digest.of(canonical_json(document))

    def __str__(self) -> str:
        """``postgresql: 3 tables, 17 columns, 1 view, Alembic revision 1a2b``."""
        columns = sum(len(table.columns) for table in self.tables)
        parts = [plural(len(self.tables), "table"), plural(columns, "column")]
        if self.views:
            parts.append(plural(len(self.views), "view"))
        if self.revisions:
            parts.append(
                f"Alembic {'revision' if len(self.revisions) == 1 else 'revisions'} {', '.join(self.revisions)}"
            )
        return f"{self.dialect}: {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, with the digest."""
        return {**self.model_dump(mode="json", exclude_none=True), "digest": str(self.digest)}


def _in_order(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(set(value), key=lambda one: (one.name, str(one))))


def schema_from_json(document: Mapping[str, Any]) -> Schema:
    """What `Schema.to_json` gave; raises VerificationError when it is something else, or was changed."""
    try:
        schema = Schema.model_validate(document)
    except ValidationError as error:
        raise VerificationError("the release's database schema is damaged", hint="release again") from error
    if not isinstance(document, Mapping) or document.get("digest") != schema.digest:
        raise VerificationError("the release's database schema is not what its digest says", hint="release again")
    return schema
