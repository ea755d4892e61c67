"""`lockship export sql` on real databases, with models that were trained for it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builder.cache import Cache
from builder.cli.app import invoke
from builder.errors import ModelError, StoreError, UsageError
from builder.models.consumers import sql_databases
from builder.models.consumers.sql import Trial, compare
from builder.models.consumers.sql_cluster import cluster_obstacle, temporary_cluster, without_server
from builder.models.consumers.sql_databases import connection, run_duckdb, run_postgres, run_sqlite
from builder.models.contract import Contract
from builder.models.inside import sql
from builder.pipeline import exporting_sql
from builder.pipeline.context import Context
from builder.pipeline.exporting_sql import Wishes, export_sql
from builder.pipeline.packaging import Converted, converted_at
from tests.conftest import DEVELOPER
from tests.support.models import MODELS, churn
from tests.support.queries import HOSTILE, Made, of, unequal
from tests.support.require import need


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translate in this process: the environment that children get has its own tests."""

    def translated(converted: Converted, context: Context, wishes: Wishes) -> dict[str, object]:
        contract = converted.contract.model_dump(mode="json", by_alias=True)
        return Made(converted.model, contract).answer(
            wishes.dialect, table=wishes.table.split("."), keys=list(wishes.keys), prefix=wishes.prefix,
            view=wishes.view.split(".") if wishes.view else None, verified=not wishes.unverified,
        )  # fmt: skip

    monkeypatch.setattr(exporting_sql, "_translated", translated)


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """A real PostgreSQL, as an unprivileged user, behind a socket."""
    obstacle = cluster_obstacle(DEVELOPER)
    need("PostgreSQL", obstacle is None, str(obstacle))
    with temporary_cluster(DEVELOPER) as database:
        yield database


def file_of(model: str, folder: Path) -> Path:
    return MODELS[model]().write(folder)


def context_of(tmp_path: Path) -> Context:
    return Context(Cache(tmp_path / "cache"), DEVELOPER)


WISHES = Wishes("sqlite", "customers", ("id",))


def test_a_query_scores_a_table(tmp_path: Path, here: None) -> None:
    """With what it writes, on a table that is not the gate's."""
    converted = converted_at(file_of("churn", tmp_path))
    done = export_sql(converted, context_of(tmp_path), tmp_path / "churn.sql", WISHES)
    assert done.verdict is not None
    assert done.verdict.passed
    assert {"golden", "thresholds", "missing", "categories"} <= {group.name for group in done.verdict.groups}
    tensors = churn().draw(50, 9)
    scores = churn().scores(tensors)
    titles = [feature.name for _, _, feature in converted.contract.features]
    columns = [tensor[:, 0].tolist() for tensor in tensors.values()]
    database = sqlite3.connect(":memory:")
    quoted = ", ".join(f'"{title}"' for title in titles)
    database.execute(f"CREATE TABLE customers (id, {quoted})")
    rows = [(f"c{number}", *cells) for number, cells in enumerate(zip(*columns, strict=True))]
    database.executemany(f"INSERT INTO customers VALUES (?{', ?' * len(titles)})", rows)
    found = {row[0]: row[1:] for row in database.execute(done.file.read_text())}
    for number in range(50):
        label, *shares = found[f"c{number}"]
        assert label == scores["label"][number]
        assert np.allclose(shares, scores["probabilities"][number], atol=1e-5)


@pytest.mark.parametrize("view", [None, "scores"])
def test_views_are_created(tmp_path: Path, here: None, view: str | None) -> None:
    converted = converted_at(file_of("wine", tmp_path))
    done = export_sql(converted, context_of(tmp_path), tmp_path / "wine.sql", replace(WISHES, view=view))
    assert ('CREATE VIEW "scores" AS' in done.file.read_text()) == (view is not None)


def test_a_difference_is_exit_code_4_and_writes_nothing(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that scores one row otherwise."""
    file = file_of("churn", tmp_path)

    def off(trial: Trial) -> sql_databases.Outcome:
        name, rows = run_sqlite(trial)
        label, *others = rows[3]
        return name, {**rows, 3: ("stays" if label == "leaves" else "leaves", *others)}

    monkeypatch.setattr(exporting_sql, "run_sqlite", off)
    with pytest.raises(ModelError) as caught:
        export_sql(converted_at(file), context_of(tmp_path), tmp_path / "churn.sql", WISHES)
    assert caught.value.exit_code == 4
    assert "golden 3: label is" in caught.value.message
    assert '"Monthly Charges"' in caught.value.message
    assert not (tmp_path / "churn.sql").exists()


def test_the_original_counts_too(tmp_path: Path) -> None:
    """A query that agrees with the .onnx is wrong all the same when the original's golden scores are others."""
    contract = churn().contract
    answer = Made(churn().model, contract.model_dump(mode="json", by_alias=True)).answer("sqlite")
    trial = Trial.of(answer, view=False)
    got = run_sqlite(trial)[1]
    assert compare(contract, trial, got).passed
    golden = contract.golden
    moved = {**golden.outputs, "probabilities": ((0.0, 1.0), *golden.outputs["probabilities"][1:])}
    changed = contract.model_copy(update={"golden": golden.model_copy(update={"outputs": moved})})
    assert [one.row for one in compare(changed, trial, got).differences] == [0]


def test_rows_that_are_missing_or_scored_without_leave_are_differences() -> None:
    contract = churn().contract
    trial = Trial.of(Made(churn().model, contract.model_dump(mode="json", by_alias=True)).answer("sqlite"), view=False)
    got = run_sqlite(trial)[1]
    unscored = trial.unscored.index(True)
    assert got[unscored] == (None, None, None)
    assert not compare(contract, trial, {**got, unscored: ("stays", 0.5, 0.5)}).passed
    assert not compare(contract, trial, {number: row for number, row in got.items() if number}).passed


def test_what_cannot_be_verified_is_refused(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = file_of("wine", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("builder.models.consumers.sql_cluster.Path.glob", lambda *_: iter(()))
    words = ["export", "sql", "--contract", str(file), "--dialect", "postgres", "--table", "t", "--key", "id"]
    words += ["-o", str(tmp_path / "wine.sql")]
    assert invoke(words) == 2
    shown = capsys.readouterr().err
    assert "can't be verified here: this machine has no initdb" in shown
    assert "--database URL" in shown
    assert "--unverified" in shown
    assert invoke([*words, "--unverified", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verified"], document["database"]) == (False, None)
    assert "NOT VERIFIED" in (tmp_path / "wine.sql").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dialect": "oracle"}, "no such dialect"),
        ({"database": "postgresql://h/d"}, "runs in memory"),
        ({"keys": ()}, "no key"),
        ({"dialect": "postgres", "database": "mysql://h/d"}, "not the address"),
        ({"dialect": "postgres", "database": "postgresql://h:port/d"}, "not an address"),
    ],
)
def test_wrong_wishes(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    converted = converted_at(file_of("wine", tmp_path))
    with pytest.raises(UsageError, match=message):
        export_sql(converted, context_of(tmp_path), tmp_path / "wine.sql", replace(WISHES, **changes))  # type: ignore[arg-type]


def test_a_password_is_in_no_command_line_and_no_message() -> None:
    url = "postgresql://ada:s%40cret@db.example.com:6432/ml?sslmode=require"
    assert connection(url) == {
        "PGHOST": "db.example.com", "PGPORT": "6432", "PGUSER": "ada", "PGPASSWORD": "s@cret", "PGDATABASE": "ml",
        "PGSSLMODE": "require",
    }  # fmt: skip
    with pytest.raises(UsageError) as caught:
        connection("postgresql://ada:s%40cret@h/d?passfile=/etc/x")
    assert "cret" not in str(caught.value) + str(caught.value.hint)


def answers(dialect: str) -> Iterator[tuple[str, dict[str, object], dict[str, object]]]:
    """Real models with their answers: the three with contracts, and boosters with gaps and hostile names."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for name, make in MODELS.items():
        contract = make().contract.model_dump(mode="json", by_alias=True)
        yield name, contract, Made(make().model, contract).answer(dialect)
    random = np.random.default_rng(0)
    rows = np.column_stack(
        [random.normal(5e4, 1e4, 400), random.integers(0, 90, 400), random.uniform(1.6e9, 1.7e9, 400)]
    )
    labels = np.where(rows[:, 0] / 1e4 + rows[:, 1] / 30 > 6.5, "it's", "no\\")
    gaps = np.where(random.random(rows.shape) < 0.1, np.nan, rows)
    models = {
        "boosted": HistGradientBoostingClassifier(max_iter=20).fit(gaps, labels),
        "regression": HistGradientBoostingRegressor(max_iter=20).fit(gaps, rows[:, 0]),
        "imputed": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(gaps, labels),
    }
    for number, (name, model) in enumerate(models.items()):
        made = of(model, gaps, names=HOSTILE[3 * number : 3 * number + 3], missing="nan")
        yield name, made.contract, made.answer(dialect)


def all_equal(dialect: str, run: Callable[[Trial], sql_databases.Outcome], expected: str) -> None:
    for name, contract, answer in answers(dialect):
        database, got = run(Trial.of(answer, view=False))
        assert database.startswith(expected)
        assert unequal(contract, answer, got) == [], name


@pytest.mark.slow
def test_sqlite_scores_real_models_the_same() -> None:
    all_equal("sqlite", run_sqlite, "SQLite 3.")


@pytest.mark.slow
def test_duckdb_scores_real_models_the_same() -> None:
    all_equal("duckdb", run_duckdb, "DuckDB ")


@pytest.mark.slow
def test_postgres_scores_real_models_the_same(server: dict[str, str]) -> None:
    environ = without_server(DEVELOPER)
    all_equal("postgres", lambda trial: run_postgres(trial, server, environ), "PostgreSQL ")


@pytest.mark.slow
def test_a_database_is_left_as_it_was(server: dict[str, str], tmp_path: Path, here: None) -> None:
    """Verified on a server that somebody named: nothing stays, not even the view."""
    url = f"postgresql://{server['PGUSER']}@/postgres?host={server['PGHOST']}&port={server['PGPORT']}"
    wishes = replace(WISHES, dialect="postgres", table="sales.customers", view="sales.scores", database=url)
    done = export_sql(converted_at(file_of("wine", tmp_path)), context_of(tmp_path), tmp_path / "wine.sql", wishes)
    assert done.database is not None
    assert 'CREATE OR REPLACE VIEW "sales"."scores" AS' in done.file.read_text()
    command = [
        "psql",
        "-XAt",
        "-c",
        "SELECT count(*) FROM pg_class WHERE relname LIKE '%lockship%' OR relname = 'scores'",
    ]
    left = subprocess.run(
        command, env={**without_server(DEVELOPER), **server}, capture_output=True, text=True, check=True
    )
    assert left.stdout.strip() == "0"


@pytest.mark.slow
def test_a_server_that_is_not_there(tmp_path: Path, here: None) -> None:
    need("psql", shutil.which("psql", path=DEVELOPER.get("PATH")), "this machine lacks it")
    wishes = replace(WISHES, dialect="postgres", database="postgresql://ada:s3cr3t@127.0.0.1:9/x")
    with pytest.raises(StoreError, match="does not answer") as caught:
        export_sql(converted_at(file_of("wine", tmp_path)), context_of(tmp_path), tmp_path / "wine.sql", wishes)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.slow
def test_columns_with_a_collation_of_their_own_are_compared_exactly(server: dict[str, str]) -> None:
    """NOCASE in SQLite and in DuckDB would make ``ONE YEAR`` a known category."""
    import duckdb

    contract = churn().contract.model_dump(mode="json", by_alias=True)
    head = 'id INTEGER, tenure DOUBLE, "Monthly Charges" DOUBLE, visits BIGINT, paperless BOOLEAN, '
    rows = "INSERT INTO t VALUES (1, 3, 70, 2, true, 'MONTH-TO-MONTH', 'card'), (2, 3, 70, 2, true, 'else', 'card')"
    made = Made(churn().model, contract)
    for database, dialect in ((sqlite3.connect(":memory:"), "sqlite"), (duckdb.connect(), "duckdb")):
        database.execute(f"CREATE TABLE t ({head} contract TEXT COLLATE NOCASE, payment TEXT COLLATE NOCASE)")
        database.execute(rows)
        first, second = sorted(database.execute(made.answer(dialect)["query"]).fetchall())
        assert first[1:] == second[1:], dialect
        database.close()


@pytest.mark.slow
@pytest.mark.index
def test_the_command_in_an_environment_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = file_of("churn", tmp_path)
    words = ["export", "sql", "--contract", str(file), "--dialect", "sqlite", "--table", "customers", "--key", "id"]
    assert invoke([*words, "-o", str(tmp_path / "churn.sql"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verified"]
    assert document["columns"] == ["label", "probability_leaves", "probability_stays"]
    assert (tmp_path / "churn.sql").read_text().startswith('-- Scores the rows of "customers"')


def test_the_operation_is_one() -> None:
    from builder.models.inside.main import OPERATIONS

    assert "sql" in OPERATIONS
    assert sql.DIALECTS == ("postgres", "sqlite", "duckdb")
    assert Contract.model_validate(churn().contract.model_dump(by_alias=True)).name == "churn"
