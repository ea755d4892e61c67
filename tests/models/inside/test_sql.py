"""The tree, the translation and the dialects' words, on SQLite, which is everywhere."""

from __future__ import annotations

import math
import sqlite3
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.models.inside import sql
from builder.models.inside.problem import Problem
from builder.models.inside.sql import render, words_of
from builder.models.inside.sql.cells import Column, Raw, Step, compared, equal, expression
from builder.models.inside.sql.floats import FLOAT32_LIMIT, bound_of, float32
from builder.models.inside.sql.stages import Stages
from builder.models.inside.sql.tree import Case, In, Name, Number, negated
from tests.support.queries import HOSTILE, of, on_sqlite, unequal

doubles = st.floats(allow_nan=False)
singles = st.floats(width=32, allow_nan=False)


def evaluated(text: str, **columns: object) -> object:
    """An expression of SQLite over columns."""
    names = ", ".join(f"? AS {name}" for name in columns) or "1"
    return (
        sqlite3.connect(":memory:").execute(f"SELECT {text} FROM (SELECT {names})", [*columns.values()]).fetchone()[0]
    )


@given(doubles)
@example(FLOAT32_LIMIT)
@example(math.nextafter(FLOAT32_LIMIT, 0))
@example(16777217.0)
@example(1e-46)
def test_float32_rounds_as_numpy_does(value: float) -> None:
    with np.errstate(over="ignore"):
        assert float32(value) == float(np.float64(value).astype(np.float32))


@given(singles, st.sampled_from(["<=", "<", ">", ">="]), st.lists(doubles, max_size=5))
def test_a_float32_comparison_becomes_one_of_doubles(bound: float, operator: str, others: list[float]) -> None:
    column = Raw(Column(Name(0, "x0"), "x", "float32"))
    condition = compared(column, operator, bound)
    near = [bound, *others]
    if not isinstance(condition, bool):
        limit = condition.right.value
        near += [limit, math.nextafter(limit, -math.inf), math.nextafter(limit, math.inf)]
    tests: dict[str, Any] = {"<=": float.__le__, "<": float.__lt__, ">": float.__gt__, ">=": float.__ge__}
    for value in near:
        wanted = tests[operator](float32(value), float(bound))
        found = condition if isinstance(condition, bool) else tests[condition.operator](value, condition.right.value)
        assert found == wanted, (value, condition)


@given(
    singles, st.floats(-1e6, 1e6, width=32), st.floats(-1e3, 1e3, width=32).filter(lambda one: abs(one) > 1e-3), doubles
)
def test_a_threshold_behind_a_scaler_is_carried_back(bound: float, offset: float, scale: float, value: float) -> None:
    steps = (Step("add", -offset, single=True), Step("multiply", scale, single=True))
    condition = compared(Raw(Column(Name(0, "x0"), "x", "float32"), steps), "<=", bound)
    values = [value]
    if not isinstance(condition, bool):
        limit = condition.right.value
        values += [limit, math.nextafter(limit, -math.inf), math.nextafter(limit, math.inf)]
    for one in values:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (np.float32(one) - np.float32(offset)) * np.float32(scale)
        wanted = bool(scaled <= np.float32(bound))
        tests: dict[str, Any] = {"<=": float.__le__, "<": float.__lt__, ">": float.__gt__, ">=": float.__ge__}
        found = condition if isinstance(condition, bool) else tests[condition.operator](one, condition.right.value)
        assert found == wanted


@given(st.integers(-(2**63), 2**63 - 1), singles)
def test_whole_numbers_are_compared_after_their_rounding(value: int, bound: float) -> None:
    found = bound_of("int64", lambda one: float32(float(one)) <= bound)
    held = found if isinstance(found, bool) else (value <= found[1] if found[0] == "<=" else value > found[1])
    assert held == (float(np.float32(float(value))) <= bound)


@given(doubles)
@example(0.1)
@example(5e-324)
@example(1.7976931348623157e308)
@example(2.0**62)
@example(36028797018963968.0)
def test_sqlite_reads_numbers_exactly(value: float) -> None:
    if math.isfinite(value):
        found = evaluated(words_of("sqlite").number(value))
        if abs(value) < 1e-300:  # below, a division may pass through numbers without full precision
            assert found == pytest.approx(value, abs=1e-300)
        else:
            assert struct.pack("<d", found) == struct.pack("<d", value + 0.0)


@given(st.floats(-3.4e38, 3.4e38).filter(lambda one: one == 0 or abs(one) > 1.2e-38))
@example(16777217.0)
@example(16777219.0)
@example(1.6e9 + 0.3)
def test_sqlite_rounds_to_float32(value: float) -> None:
    assert evaluated(words_of("sqlite").single("x", "x"), x=value) == float32(value)


def test_what_is_too_large_for_a_float32_is_null() -> None:
    words = words_of("sqlite")
    assert evaluated(words.single("x", "x"), x=FLOAT32_LIMIT) is None
    assert evaluated(words.single("x", "x"), x=math.inf) is None


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(HOSTILE))
def test_texts_and_names_are_only_that(text: str) -> None:
    words = words_of("sqlite")
    assert evaluated(words.text(text)) == text
    if text:
        names = sqlite3.connect(":memory:").execute(f"SELECT 1 AS {words.name(text)}").description
        assert names[0][0] == text


@pytest.mark.parametrize("dialect", sql.DIALECTS)
def test_what_a_dialect_cannot_say_is_refused(dialect: str) -> None:
    words = words_of(dialect)
    for name in ("", "a\0b"):
        with pytest.raises(Problem):
            words.name(name)
    with pytest.raises(Problem, match="zero byte"):
        words.text("a\0b")


def test_postgres_names_are_not_cut_off() -> None:
    assert words_of("postgres").name("ä" * 31) == '"' + "ä" * 31 + '"'
    with pytest.raises(Problem, match="63 bytes"):
        words_of("postgres").name("ä" * 32)


def test_negation_is_exact_for_what_is_missing() -> None:
    column = Raw(Column(Name(0, "x0"), "x", "float32", nullable=True))
    words = words_of("sqlite")
    for missing in (False, True):
        condition = compared(column, "<=", 1.0, missing)
        for value in (0.0, 2.0, None):
            wanted = missing if value is None else value <= 1
            for one, expected in ((condition, wanted), (negated(condition), not wanted)):
                assert not isinstance(one, bool)
                shown = render.expression(words, Case(((one, Number(1.0)),), Number(0.0)))
                assert evaluated(shown, x0=value) == expected


def test_one_column_lists_its_values_once() -> None:
    column = Raw(Column(Name(0, "x0"), "x", "string"))
    assert equal(column, "a") == In(Name(0, "x0"), ("a",))
    assert expression(column) == Name(0, "x0")


def test_stages_compute_nothing_twice() -> None:
    stages = Stages()
    x = stages.source()
    from builder.models.inside.sql.tree import Product, Sum

    square = stages.named(Product(x, x), "f")
    assert stages.named(Product(x, x), "f") == square
    total = stages.named(Sum((square, square)), "s")
    unused = stages.named(Sum((square, x)), "s")
    assert (square.stage, total.stage, unused.stage) == (1, 2, 2)
    assert stages.needed([total]) == [["x0"], ["f0"], ["s0"]]


def trees(random: np.random.Generator) -> tuple[Any, np.ndarray, np.ndarray, bool]:
    """A small model of trees or of coefficients, and rows that lie on its thresholds."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    rows = random.choice([-1e6, -1.5, -0.1, 0, 0.1, 0.3, 1 / 3, 7, 1e9], (120, 3)) + random.normal(
        0, 0.01, (120, 3)
    ).round(2)
    classes = int(random.integers(2, 4))
    labels = random.integers(0, classes, len(rows))
    models = [
        DecisionTreeClassifier(max_depth=int(random.integers(1, 9))),
        RandomForestClassifier(8, max_depth=4, random_state=0),
        GradientBoostingClassifier(n_estimators=4, random_state=0),
        make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=5)),
        make_pipeline(MinMaxScaler(), RandomForestClassifier(4, max_depth=4, random_state=0)),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), Ridge()),
    ]
    model = models[int(random.integers(len(models)))]
    if models.index(model) >= 5:  # with numbers of very different sizes float32 itself loses more than the tolerance
        rows = np.clip(rows, -10, 10)
    regression = not hasattr(model, "predict_proba")
    model.fit(rows, rows @ [1.0, -2.0, 0.5] if regression else labels)
    return model, rows, labels, regression


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_small_models_score_the_same_on_sqlite(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, rows, _, _ = trees(np.random.default_rng(seed))
        made = of(model, rows)
    answer = made.answer("sqlite")
    assert unequal(made.contract, answer, on_sqlite(answer)) == []


@pytest.mark.parametrize("dialect", sql.DIALECTS)
def test_the_same_model_gives_the_same_bytes(dialect: str) -> None:
    from sklearn.tree import DecisionTreeClassifier

    rows = np.arange(60.0).reshape(20, 3)
    made = of(DecisionTreeClassifier().fit(rows, np.arange(20) % 3), rows)
    first = made.answer(dialect)["query"]
    assert first == made.answer(dialect)["query"]
    assert "contract: sha256:" in first
    assert made.contract["digest"] in first


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_names(name: str) -> None:
    from sklearn.tree import DecisionTreeClassifier

    rows = np.arange(60.0).reshape(20, 3)
    made = of(DecisionTreeClassifier().fit(rows, np.arange(20) % 2), rows, names=[name, "b", "c"])
    answer = made.answer("sqlite", table=[name], keys=[name + "k"])
    assert unequal(made.contract, answer, on_sqlite(answer)) == []
    for line in answer["query"].splitlines()[:8]:
        assert line.startswith("--") or line.startswith("WITH"), line


def test_a_column_that_is_not_there_is_an_error_not_a_text() -> None:
    from sklearn.tree import DecisionTreeClassifier

    rows = np.arange(60.0).reshape(20, 3)
    query = of(DecisionTreeClassifier().fit(rows, np.arange(20) % 2), rows).answer("sqlite")["query"]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (id INTEGER, f0 REAL, f1 REAL)")
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        database.execute(query)


def test_what_sqlite_stores_as_text_is_no_number() -> None:
    from sklearn.tree import DecisionTreeClassifier

    rows = np.arange(60.0).reshape(20, 3)
    query = of(DecisionTreeClassifier().fit(rows, np.arange(20) % 2), rows).answer("sqlite")["query"]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (id, f0, f1, f2)")
    database.execute("INSERT INTO t VALUES (1, 'many', 1.0, 2.0), (2, 3, 4, 5)")
    first, second = database.execute(query).fetchall()
    assert first[1:] == (None, None, None)
    assert None not in second


def test_what_has_no_translation_is_refused_with_the_reason() -> None:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline

    rows = np.random.default_rng(0).normal(size=(60, 3))
    labels = (rows[:, 0] > 0).astype(int)
    with pytest.raises(Problem, match="computed from several columns") as caught:
        of(make_pipeline(PCA(2), RandomForestClassifier(2)).fit(rows, labels), rows).answer("sqlite")
    assert "PCA" in str(caught.value.hint)
    with pytest.raises(Problem, match="no translation"):
        of(KNeighborsRegressor().fit(rows[:10], rows[:10, 0]), rows).answer("sqlite")


def test_a_model_that_is_too_large_is_refused_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.ensemble import RandomForestClassifier

    from builder.models.inside.sql.words import Words

    rows = np.random.default_rng(0).normal(size=(300, 3))
    made = of(RandomForestClassifier(10).fit(rows, np.arange(300) % 2), rows)
    monkeypatch.setattr(Words, "largest", 10_000)
    with pytest.raises(Problem, match="at most 10,000") as caught:
        made.answer("sqlite")
    assert "max_depth" in str(caught.value.hint)


def test_two_columns_of_one_name_are_refused() -> None:
    from sklearn.tree import DecisionTreeClassifier

    rows = np.arange(60.0).reshape(20, 3)
    made = of(DecisionTreeClassifier().fit(rows, np.arange(20) % 2), rows)
    with pytest.raises(Problem, match="'label'"):
        made.answer("sqlite", keys=["Label"])
    assert '"x_label"' in made.answer("sqlite", keys=["Label"], prefix="x_")["query"]


def test_a_broken_model_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x01nonsense")
    with pytest.raises(Problem, match="cannot read"):
        sql.run({"onnx": str(tmp_path / "m.onnx"), "contract": {}, "dialect": "sqlite"})
