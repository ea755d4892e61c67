"""Text inside Java source, Javadoc, XML, Markdown and tables: whatever it says, it stays text."""

from __future__ import annotations

from typing import Final

__all__ = ["cell", "html", "java", "literal", "markdown", "passes", "xml"]

_LETTERS: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CELLS: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
# `*/` would end the comment, `\u` start an escape (JLS 3.3: in comments too), `@` and `{@` a tag
_HTML: Final = {one: f"&#{ord(one)};" for one in "<>&@\\*/{}\"'"}


def literal(text: str) -> str:
    """A string literal (JLS 3.10.5): what is not to be seen, and what turns the direction of text, is escaped."""
    return '"' + "".join(_LETTERS.get(one) or (one if one.isprintable() else _escaped(one)) for one in text) + '"'


def _escaped(one: str) -> str:
    """In octal below 256, for ``\\u000a`` would be a line's end by the time that the string is read."""
    if ord(one) < 0x100:
        return f"\\{ord(one):03o}"
    units = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def java(value: bool | int | float | str) -> str:
    """A literal of the value's type: ``String``, ``boolean``, ``long`` or ``double``."""
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}L" if isinstance(value, int) else repr(value)


def html(text: str) -> str:
    """Text in a Javadoc comment, on one line."""
    return "".join(_HTML.get(one) or (one if one.isprintable() else "\ufffd") for one in " ".join(text.split()))


def xml(text: str) -> str:
    """Text in an element of a pom: never an expression, which Maven would fill in."""
    plain = "".join(one if one.isprintable() else "\ufffd" for one in " ".join(text.split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("${", "$ {")


def markdown(text: str) -> str:
    """Text in a paragraph or a table's cell of Markdown."""
    plain = "".join(one if one.isprintable() else "\ufffd" for one in " ".join(text.split()))
    return "".join(f"&#{ord(one)};" if one in "\\`*_{}[]<>()#|!~&" else one for one in plain)


def cell(value: bool | int | float | str) -> str:
    """One cell of a table whose columns are parted by tabs, as Java's ``valueOf`` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.translate(_CELLS) if isinstance(value, str) else repr(value)


def passes(text: str) -> bool:
    """Whether onnxruntime's Java binding hands `text` to the model as it is.

    It passes JNI's modified UTF-8 on as if it were UTF-8 (measured with 1.17.3 and 1.29.0): NUL and whatever is
    beyond the basic plane arrive as other bytes, and a category that the model knows is then none.
    """
    return all("\0" < one <= "\uffff" and not "\ud800" <= one <= "\udfff" for one in text)
