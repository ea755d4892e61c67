"""`[data]` and `[database]`, as project files have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.datakeys import Data, DatabaseSection, is_secret
from builder.errors import ProjectError
from builder.project import Project, load_project

BASE = 'name = "churn"\nversion = "1"\n'


def load(folder: Path, text: str) -> Project:
    (folder / "lockship.toml").write_text(BASE + text)
    return load_project(folder / "lockship.toml")


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ProjectError) as caught:
        load(folder, text)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    return f"{caught.value} | {caught.value.hint}"


def test_short_and_long_forms(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        '[data]\none = "data/x.csv"\nsome = ["a/*.parquet", "s3://bucket/b.parquet"]\n'
        'whole = { paths = "abfs://container@account.dfs.example.com/x", role = "reference", ship = true }\n',
    )
    assert found.data == {
        "one": Data(paths=("data/x.csv",)),
        "some": Data(paths=("a/*.parquet", "s3://bucket/b.parquet")),
        "whole": Data(paths=("abfs://container@account.dfs.example.com/x",), role="reference", ship=True),
    }
    assert load(tmp_path, "").data == {}
    assert load(tmp_path, "").database is None


def test_a_database(tmp_path: Path) -> None:
    found = load(
        tmp_path, '[database]\nurl = "env:DATABASE_URL"\ntables = ["customers", "orders.*"]\nschema = "public"\n'
    )
    assert found.database == DatabaseSection(
        url="env:DATABASE_URL", tables=("customers", "orders.*"), namespace="public"
    )


@pytest.mark.parametrize(
    "url",
    ["env:DB_URL", "file:/run/secrets/db", "file:secrets/db", "postgresql://user@host:5432/name?sslmode=require",
     "sqlite:///data/x.db", "postgresql://user@/name?host=/run/postgresql"],
)  # fmt: skip
def test_databases_are_named_without_a_password(tmp_path: Path, url: str) -> None:
    found = load(tmp_path, f'[database]\nurl = "{url}"\n').database
    assert found is not None
    assert found.url == url


@pytest.mark.parametrize(
    "url",
    ["postgresql://user:hunter2@host/name", "postgresql://host/name?password=hunter2", "hunter2", "env:hunter2 x",
     "postgresql://[user:hunter2/name", "postgresql:user:hunter2@host", "postgresql://u:hunter2@h:700000/x",
     "postgresql://host/name?sslpassword=hunter2", "file:"],
)  # fmt: skip
def test_a_password_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    told = refused(tmp_path, f'[database]\nurl = "{url}"\n')
    assert "lockship.toml:4: database.url: " in told


@pytest.mark.parametrize(
    "path",
    ["https://user:hunter2@host/x.csv", "https://hunter2@host/x.csv", "s3://key:hunter2@bucket/x.csv",
     "https://host/x.csv?X-Amz-Signature=hunter2", "https://host/x.csv?sv=1&sig=hunter2",
     "https://host/x?api_key=hunter2", "https://host/x?access_token=hunter2", "https://[host:hunter2@/x"],
)  # fmt: skip
def test_credentials_in_addresses_are_refused_and_not_shown(tmp_path: Path, path: str) -> None:
    assert "lockship.toml:4: data.x.paths: " in refused(tmp_path, f'[data]\nx = ["{path}"]\n')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('x = "../x.csv"', "may not leave the project's folder"),
        ('x = "/etc/x.csv"', "may not leave the project's folder"),
        ('x = "file:///etc/x.csv"', "named by a path inside the project"),
        ('x = "local:///etc/x.csv"', "named by a path inside the project"),
        ('x = "zip://x::s3://b/x.zip"', "chains with '::' are not followed"),
        ("x = []", "needs at least one item"),
        ("x = 3", "should be a path, a list of paths, or a table"),
        ('x = { paths = "a", roel = "training" }', "did you mean 'role'?"),
        ('x = { paths = "a", role = "test" }', "should be 'training' or 'reference'"),
        ('"a b" = "x"', "a data set's name is letters, digits"),
    ],
)
def test_what_is_no_data_set(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, f"[data]\n{text}\n")


@pytest.mark.parametrize("pattern", ["a.b.c", "", " x", ".x", "x."])
def test_what_is_no_table(tmp_path: Path, pattern: str) -> None:
    assert "written like" in refused(tmp_path, f'[database]\nurl = "env:X"\ntables = ["{pattern}"]\n')


def test_which_parameters_are_secret() -> None:
    names = (
        "sig",
        "X-Amz-Signature",
        "X-Amz-Credential",
        "AWSAccessKeyId",
        "token",
        "access_token",
        "apikey",
        "PASSWORD",
    )
    assert all(map(is_secret, names))
    assert not any(map(is_secret, ("versionId", "sslmode", "host", "sv", "design", "passive", "keyword", "region")))
