"""Names of columns, classes and models as identifiers of a programming language.

The same names give the same identifiers, in whatever order they come: a column that moves must not hand its identifier
to another one, for then a program that was written against it would go on compiling and score the wrong thing.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from builder.words import listed

__all__ = ["Case", "Identifier", "Style", "collisions", "identifier", "identifiers"]

Case = Literal["camel", "pascal", "upper", "snake"]

LONGEST: Final = 100  # characters; csc stops at 512, and nobody reads that far

# Symbols that carry a meaning, so that `<=50K` and `>50K` stay apart by more than a digest.
_SYMBOLS: Final = {
    "%": "percent",
    "#": "number",
    "&": "and",
    "+": "plus",
    "@": "at",
    "=": "equal",
    "<": "less",
    ">": "greater",
    "$": "dollar",
    "€": "euro",
    "£": "pound",
}
# Latin letters that Unicode doesn't decompose into a base letter and a mark.
_LATIN: Final = str.maketrans(
    {
        "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
        "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ı": "i", "ŋ": "n", "Ŋ": "N",
        "ŧ": "t", "Ŧ": "T", "ĸ": "k",
    }
)  # fmt: skip
_HUMPS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Style:
    """How a language writes one kind of name, and the words that may not be one there.

    `reserved` are keywords and whatever else is in the scope; compared exactly. `prefix` is a word before every name.
    """

    case: Case
    reserved: frozenset[str] = frozenset()
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Identifier:
    """A name, what it is called in the language, and the other names that would be called the same."""

    name: str
    text: str
    rivals: tuple[str, ...] = ()


def identifier(name: str, style: Style) -> str:
    """`name` alone as an identifier: valid in `style`, and never a reserved word.

    Latin letters lose their marks (``größe`` is ``grosse``), other scripts stay; anything else parts words. A digit
    first is preceded by ``x``, a reserved word followed by ``_``; a name without letters and digits is ``unnamed``.
    """
    words = _words(name) or ["unnamed"]
    if style.prefix:
        words = [style.prefix, *words]
    elif words[0][0].isdecimal():
        words = ["x", *words]
    text = _valid(_joined(words, style.case))[:LONGEST].rstrip("_")
    while text in style.reserved:
        text += "_"
    return text


def identifiers(names: Iterable[str], style: Style) -> tuple[Identifier, ...]:
    """All of `names`, in their order, each as an identifier that no other has.

    Names that would share one get a digest of the name behind it, all but a name that is its own identifier.
    """
    keyed = _keyed(names)
    plain = [identifier(name, style) for name, _ in keyed]
    groups: dict[str, list[tuple[str, int]]] = {}
    for key, text in zip(keyed, plain, strict=True):
        groups.setdefault(text, []).append(key)
    taken = set(plain) | style.reserved
    found = {key: text for text, group in groups.items() for key, text in _apart(text, group, taken).items()}
    rivals = {text: tuple(name for name, _ in group) for text, group in groups.items() if len(group) > 1}
    return tuple(
        Identifier(key[0], found[key], _others(rivals.get(text, ()), key[0]))
        for key, text in zip(keyed, plain, strict=True)
    )


def collisions(named: Sequence[Identifier], what: str) -> tuple[str, ...]:
    """A sentence for each group of `named` that had to be told apart; `what` they are: ``columns``."""
    groups: dict[tuple[str, ...], list[Identifier]] = {}
    for one in named:
        if one.rivals:
            groups.setdefault(tuple(sorted((one.name, *one.rivals))), []).append(one)
    return tuple(
        f"the {what} {listed([repr(one.name) for one in group])} would share one identifier:"
        f" they are {listed([one.text for one in group])}"
        for group in groups.values()
    )


def _keyed(names: Iterable[str]) -> list[tuple[str, int]]:
    """Each name with how many equal ones came before it."""
    seen: dict[str, int] = {}
    keyed = []
    for name in names:
        keyed.append((name, seen.get(name, 0)))
        seen[name] = seen.get(name, 0) + 1
    return keyed


def _others(names: Sequence[str], own: str) -> tuple[str, ...]:
    rest = list(names)
    if own in rest:
        rest.remove(own)
    return tuple(rest)


def _apart(text: str, group: Sequence[tuple[str, int]], taken: set[str]) -> dict[tuple[str, int], str]:
    """The identifiers of names that would all be called `text`: as few digits of a digest as tell them apart."""
    if len(group) == 1:
        return {group[0]: text}
    rest = [key for key in group if key != (text, 0)]
    kept = {key: text for key in group if key == (text, 0)}
    for digits in range(4, 65, 4):
        made = {key: f"{text}_{_digest(key)[:digits]}" for key in rest}
        if len(set(made.values())) == len(made) and not taken & set(made.values()):
            return kept | made
    raise AssertionError("two names with one SHA-256")


def _digest(key: tuple[str, int]) -> str:
    return hashlib.sha256(f"{key[1]}:{key[0]}".encode("utf-8", "surrogatepass")).hexdigest()


def _words(name: str) -> list[str]:
    """The words of `name`, of letters and digits only."""
    spelled = re.sub(r"^\s*[-−](?=\d)", "minus ", name)
    spelled = "".join(f" {_SYMBOLS[one]} " if one in _SYMBOLS else one for one in spelled)
    plain = "".join(_letter(one) for one in _plain(spelled))
    parts = (_unmarked(part) for part in plain.split())
    return [word for part in parts for word in _HUMPS.split(part) if word]


def _unmarked(word: str) -> str:
    """Without the marks that have no letter before them."""
    while word and _is_mark(word[0]):
        word = word[1:]
    return word


def _plain(text: str) -> str:
    """Compatibility forms folded, Latin letters without marks; what is left is composed again."""
    apart = unicodedata.normalize("NFKD", text.translate(_LATIN))
    bare = re.sub(r"(?<=[A-Za-z])[\u0300-\u036f]+", "", apart)
    return unicodedata.normalize("NFC", bare)


def _letter(one: str) -> str:
    """The character, if every compiler takes it inside an identifier; a space otherwise, and any digit as ASCII's."""
    if one.isdecimal():
        return str(unicodedata.decimal(one))
    if unicodedata.category(one) == "Cf":  # invisible
        return ""
    return one if _is_letter(one) or _is_mark(one) else " "


# Compilers carry Unicode tables of many ages, and C# has no identifiers beyond the basic plane: old letters only.
def _is_letter(one: str) -> bool:
    return one <= "\uffff" and unicodedata.ucd_3_2_0.category(one) in ("Lu", "Ll", "Lt", "Lm", "Lo")


def _is_mark(one: str) -> bool:
    return one <= "\uffff" and unicodedata.ucd_3_2_0.category(one) in ("Mn", "Mc")


def _joined(words: Sequence[str], case: Case) -> str:
    if case == "upper":
        return "_".join(word.upper() for word in words)
    if case == "snake":
        return "_".join(word.lower() for word in words)
    text = ""
    for index, word in enumerate(words):
        # 1.10 and 11.0 are not one name
        apart = "_" if text and text[-1].isdecimal() and word[0].isdecimal() else ""
        text += apart + (word.lower() if case == "camel" and index == 0 else _capital(word))
    return text


def _capital(word: str) -> str:
    return word[0].upper() + word[1:].lower()


def _valid(text: str) -> str:
    """What is left of `text` after changes of case, which may decompose or add letters: marks need a letter first."""
    kept = "".join(one for one in unicodedata.normalize("NFC", text) if one in "_0123456789" or _inside(one))
    return kept if kept and _is_letter(kept[0]) else f"x{kept}"


def _inside(one: str) -> bool:
    return _is_letter(one) or _is_mark(one)
