from __future__ import annotations

import json
import math
import struct
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.models.consumers.dotnet_text import code, literal, markdown, msbuild, plain, string, xml
from builder.models.contract import Scalar, TensorType

words = st.text(max_size=20) | st.sampled_from(['"', "\\", "\u2028", "\r\n", "\ufffe", "\ud800", "$(A);%41", "🙂"])


@given(words)
def test_a_string_of_csharp_is_what_it_was(text: str) -> None:
    """Its escapes are those of JSON."""
    quoted = string(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert json.loads(quoted) == text


@pytest.mark.parametrize(
    ("cell", "kind", "expected"),
    [
        (0.1, "float32", "0.1f"),
        (0.10000000149011612, "float32", "0.1f"),
        (1e-45, "float32", "1e-45f"),
        (-0.0, "float32", "-0f"),
        (1e300, "float32", "float.PositiveInfinity"),
        ("-Infinity", "float64", "double.NegativeInfinity"),
        ("NaN", "float64", "double.NaN"),
        (0.1, "float64", "0.1d"),
        (3, "float64", "3.0d"),
        (-(2**63), "int64", "-9223372036854775808L"),
        (True, "bool", "true"),
        ("NaN", "string", '"NaN"'),
    ],
)
def test_literals(cell: Scalar, kind: TensorType, expected: str) -> None:
    assert literal(cell, kind) == expected


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_are_read_back_to_the_bit(value: float) -> None:
    read = struct.pack("<f", float(literal(value, "float32").removesuffix("f")))
    assert read == struct.pack("<f", value)
    assert float(literal(value, "float64").removesuffix("d")) == value


@given(words)
def test_xml_is_well_formed_and_says_what_can_be_said(text: str) -> None:
    element = ElementTree.fromstring(f'<a b="{xml(text)}">{xml(text)}</a>')
    assert element.text in (None, element.get("b"))
    assert (element.text or "") == plain(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


@given(words)
def test_msbuild_expands_nothing(text: str) -> None:
    value = ElementTree.fromstring(f"<a>{msbuild(text)}</a>").text or ""
    assert not set(value) & set("$@;*?'()")
    unescaped = ""
    while value:
        head, mark, value = value.partition("%")
        unescaped += head + (chr(int(value[:2], 16)) if mark else "")
        value = value[2:] if mark else value
    assert unescaped == plain(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


@pytest.mark.parametrize("text", ["a|b", "`", "``x`", "\n# head", "<b>", "[a](b)", "\u202eevil"])
def test_markdown_stays_on_its_line_and_in_its_cell(text: str) -> None:
    for made in (markdown(text), code(text)):
        assert "\n" not in made
        assert "\u202e" not in made
        assert "|" not in made.replace("\\|", "")
    assert "<" not in markdown(text).replace("\\<", "")


def test_code_of_backticks() -> None:
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"


def test_nan_has_no_sign_to_lose() -> None:
    cell: Any = math.nan
    assert literal(cell, "float32") == "float.NaN"
