from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.models.consumers.identifiers import Case, Style, collisions, identifier, identifiers

CAMEL = Style("camel", frozenset({"class", "int", "wait"}))
PASCAL = Style("pascal", frozenset({"Object"}))
UPPER = Style("upper")
SNAKE = Style("snake", frozenset({"select"}))

# what columns look like, and what they should not
text = st.text(max_size=12) | st.text("aAbB12_ -.ßé%<=", max_size=8) | st.sampled_from(["class", "int", "", "***"])
LABELS = Style("upper", prefix="label")
styles = st.sampled_from([CAMEL, PASCAL, UPPER, SNAKE, LABELS])


@pytest.mark.parametrize(
    ("name", "camel", "pascal", "upper", "snake"),
    [
        ("age", "age", "Age", "AGE", "age"),
        ("TotalCharges", "totalCharges", "TotalCharges", "TOTAL_CHARGES", "total_charges"),
        ("monthly_charges", "monthlyCharges", "MonthlyCharges", "MONTHLY_CHARGES", "monthly_charges"),
        ("mean radius (mm)", "meanRadiusMm", "MeanRadiusMm", "MEAN_RADIUS_MM", "mean_radius_mm"),
        ("HTTPServer", "httpServer", "HttpServer", "HTTP_SERVER", "http_server"),
        ("od280/od315_of_diluted_wines", "od280Od315OfDilutedWines", "Od280Od315OfDilutedWines",
         "OD280_OD315_OF_DILUTED_WINES", "od280_od315_of_diluted_wines"),
        ("1st floor", "x1stFloor", "X1stFloor", "X_1ST_FLOOR", "x_1st_floor"),
        ("1.10", "x1_10", "X1_10", "X_1_10", "x_1_10"),
        ("11.0", "x11_0", "X11_0", "X_11_0", "x_11_0"),
        ("class", "class_", "Class", "CLASS", "class"),
        ("Object", "object", "Object_", "OBJECT", "object"),
        ("select", "select", "Select", "SELECT", "select_"),
        ("<=50K", "lessEqual50k", "LessEqual50k", "LESS_EQUAL_50K", "less_equal_50k"),
        (">50K", "greater50k", "Greater50k", "GREATER_50K", "greater_50k"),
        ("-1", "minus1", "Minus1", "MINUS_1", "minus_1"),
        ("petal-width", "petalWidth", "PetalWidth", "PETAL_WIDTH", "petal_width"),
        ("Größe der Straße", "grosseDerStrasse", "GrosseDerStrasse", "GROSSE_DER_STRASSE", "grosse_der_strasse"),
        ("fläche_m²", "flacheM2", "FlacheM2", "FLACHE_M2", "flache_m2"),
        ("年龄", "年龄", "年龄", "年龄", "年龄"),
        ("Возраст клиента", "возрастКлиента", "ВозрастКлиента", "ВОЗРАСТ_КЛИЕНТА", "возраст_клиента"),
        ("٣ days", "x3Days", "X3Days", "X_3_DAYS", "x_3_days"),
        ("ok\u200bay\u202e", "okay", "Okay", "OKAY", "okay"),
        ("¨", "unnamed", "Unnamed", "UNNAMED", "unnamed"),
        ("🙂", "unnamed", "Unnamed", "UNNAMED", "unnamed"),
        ("", "unnamed", "Unnamed", "UNNAMED", "unnamed"),
        ('*/ "quotes" \\u0022 class', "quotesU0022Class", "QuotesU0022Class", "QUOTES_U0022_CLASS",
         "quotes_u0022_class"),
    ],
)  # fmt: skip
def test_names_as_people_would_write_them(name: str, camel: str, pascal: str, upper: str, snake: str) -> None:
    assert [identifier(name, style) for style in (CAMEL, PASCAL, UPPER, SNAKE)] == [camel, pascal, upper, snake]


def is_identifier(found: str) -> bool:
    """What Java, C# and SQL all take: letters of the basic plane, marks and digits after them; in Unicode's NFC."""
    first, *rest = found
    letters = ("Lu", "Ll", "Lt", "Lm", "Lo")
    return (
        unicodedata.category(first) in letters
        and all(one == "_" or unicodedata.category(one) in (*letters, "Nd", "Mn", "Mc") for one in rest)
        and max(found) <= "\uffff"
        and unicodedata.is_normalized("NFC", found)
    )


@given(st.text(max_size=300) | text, styles)
def test_any_name_gives_a_valid_identifier(name: str, style: Style) -> None:
    found = identifier(name, style)
    assert is_identifier(found), found
    assert len(found) <= 110
    assert found not in style.reserved


@given(st.lists(text, max_size=12), styles)
def test_no_two_names_share_an_identifier(names: list[str], style: Style) -> None:
    found = identifiers(names, style)
    assert [one.name for one in found] == names
    assert len({one.text for one in found}) == len(names)
    assert all(is_identifier(one.text) for one in found)
    assert not {one.text for one in found} & style.reserved


@given(st.lists(text, max_size=12, unique=True), styles, st.randoms())
def test_the_order_of_names_does_not_matter(names: list[str], style: Style, random: object) -> None:
    before = {one.name: one.text for one in identifiers(names, style)}
    random.shuffle(names)  # type: ignore[attr-defined]
    assert {one.name: one.text for one in identifiers(names, style)} == before


@given(st.lists(text, max_size=8, unique=True), text, styles)
def test_one_more_name_gives_nobody_elses_identifier_to_another(names: list[str], more: str, style: Style) -> None:
    """A program written against the old names fails to compile, or means the same columns."""
    before = {one.text: one.name for one in identifiers(names, style)}
    after = {one.text: one.name for one in identifiers([*names, more], style) if one.name in names}
    assert all(before.get(text, name) == name for text, name in after.items())


def test_a_prefix_is_a_word_before_the_name() -> None:
    names = ["-1", "0", ">50K", "Überweisung"]
    assert [identifier(name, LABELS) for name in names] == [
        "LABEL_MINUS_1", "LABEL_0", "LABEL_GREATER_50K", "LABEL_UBERWEISUNG",
    ]  # fmt: skip
    assert identifier("0", Style("pascal", prefix="label")) == "Label0"


@pytest.mark.parametrize("case", ["camel", "pascal", "upper", "snake"])
def test_what_collides_gets_a_digest_and_is_told(case: Case) -> None:
    found = identifiers(["a b", "a_b", "other"], Style(case))
    first, second, other = (one.text for one in found)
    assert re.sub("_[0-9a-f]{4}$", "", first) == re.sub("_[0-9a-f]{4}$", "", second)
    assert found[0].rivals == ("a_b",)
    assert found[2].rivals == ()
    assert collisions(found, "columns") == (
        f"the columns 'a b', 'a_b' would share one identifier: they are {first}, {second}",
    )
    assert other.lower() == "other"


def test_a_name_that_is_its_own_identifier_keeps_it() -> None:
    found = {one.name: one.text for one in identifiers(["Age", "age", " age "], CAMEL)}
    assert found["age"] == "age"
    assert found["Age"].startswith("age_")
    assert found[" age "].startswith("age_")


def test_equal_names_are_told_apart() -> None:
    assert identifiers(["x", "x"], CAMEL)[0].text == "x"
    assert len({one.text for one in identifiers(["x y", "x y", "x y"], CAMEL)}) == 3
