from __future__ import annotations

import re
import tomllib

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.templating import groovy, render, toml, yaml

text = st.text(st.characters(exclude_categories=["Cs"]))
value = st.recursive(
    text | st.booleans() | st.integers(-(2**63), 2**63 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)


@given(value)
def test_any_value_reads_back_equal(value: object) -> None:
    assert tomllib.loads(f"a = {toml(value)}")["a"] == value


def test_what_toml_has_no_word_for_is_a_bug() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        toml(None)


def test_a_forgotten_value_is_an_error_not_a_gap() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("lockship.toml.j2", {})


@given(text)
def test_any_text_is_one_scalar_of_yaml(value: str) -> None:
    ruamel = pytest.importorskip("ruamel.yaml")
    assert ruamel.YAML(typ="safe").load(f"a: {yaml(value)} # b") == {"a": value}


@given(text)
def test_any_text_is_one_string_of_groovy(value: str) -> None:
    quoted = groovy(value)
    inner = re.fullmatch(r"'((?:[^'\\]|\\['\\])*)'", quoted, re.DOTALL)
    assert inner
    assert re.sub(r"\\(.)", r"\1", inner[1]) == value
