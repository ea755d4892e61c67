"""Java source as a compiler sees it: what is code, and what is only said in comments and strings."""

from __future__ import annotations

import re

__all__ = ["code_of", "literals_of"]

# JLS 3.3: a backslash behind an even number of others, any number of u, four digits
_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u+([0-9a-fA-F]{4})")
_MALFORMED = re.compile(r"(?<!\\)(?:\\\\)*\\u(?!u*[0-9a-fA-F]{4})")
_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n\r]|\\.)*"|\'(?:[^\'\\\n\r]|\\.)+\'', re.DOTALL)


def _translated(source: str) -> str:
    assert not _MALFORMED.search(source), "a malformed Unicode escape"
    return _ESCAPE.sub(lambda found: found[1] + chr(int(found[2], 16)), source)


def code_of(source: str) -> str:
    """`source` without comments, each string and character as ``""``; whatever ends one early is left to see."""
    code = _TOKEN.sub(lambda found: "" if found[0].startswith("/") else '""', _translated(source))
    assert "/*" not in code
    assert "*/" not in code
    return code


def literals_of(source: str) -> list[str]:
    """What the strings of `source` say."""
    found = [token for token in _TOKEN.findall(_translated(source)) if token.startswith('"')]
    letters = {"n": "\n", "r": "\r", "t": "\t"}
    units = [
        re.sub(
            r"\\([0-7]{1,3}|.)",
            lambda one: chr(int(one[1], 8)) if one[1][0].isdigit() else letters.get(one[1], one[1]),
            text[1:-1],
        )
        for text in found
    ]
    return [text.encode("utf-16", "surrogatepass").decode("utf-16") for text in units]
