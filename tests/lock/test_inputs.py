"""The files that decide a lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ProjectError
from builder.lock.inputs import input_files, read_inputs
from tests.lock.python_projects import write_project


def test_files_are_followed_wherever_they_point(tmp_path: Path) -> None:
    files = {
        "requirements.in": "-r more/base.in\n--constraint=../team.txt\nalpha\n",
        "more/base.in": "-rdeep.in\n-c limits.txt\n-r ../requirements.in\n",
        "more/deep.in": "beta\n",
        "more/limits.txt": "beta<3\n",
        "../team.txt": "alpha<9\n",
        "own.txt": "gamma==1\n",
    }
    project = write_project(tmp_path / "p", files, python='constraints = ["own.txt"]')
    assert list(input_files(project)) == [
        "../team.txt",
        "more/base.in",
        "more/deep.in",
        "more/limits.txt",
        "own.txt",
        "requirements.in",
    ]
    asked = [(one.name, one.place, one.constraint) for one in read_inputs(project, {}).asked]
    assert asked == [
        ("beta", "more/deep.in:1", False),
        ("beta", "more/limits.txt:1", True),
        ("alpha", "../team.txt:1", True),
        ("alpha", "requirements.in:3", False),
        ("gamma", "own.txt:1", True),
    ]


def test_a_file_counts_by_its_bytes(tmp_path: Path) -> None:
    project = write_project(tmp_path, "alpha\n")
    before = input_files(project)
    (tmp_path / "requirements.in").write_text("alpha>=1\n")
    assert input_files(project) != before


def test_a_pyproject_counts_by_its_dependencies_only(tmp_path: Path) -> None:
    text = '[project]\nname = "demo"\nversion = "1"\ndependencies = ["alpha"]\n'
    project = write_project(tmp_path, {"pyproject.toml": text}, names=["pyproject.toml"])
    before = input_files(project)
    (tmp_path / "pyproject.toml").write_text("# new\n" + text.replace('"1"', '"2"') + "[tool.ruff]\n")
    assert input_files(project) == before
    (tmp_path / "pyproject.toml").write_text(text.replace("alpha", "beta"))
    assert input_files(project) != before


def test_the_grammar_of_pip(tmp_path: Path) -> None:
    text = (
        "# a comment\n"
        "alpha >= 1, \\\n"
        "    < 2  # why\n"
        "\n"
        "beta[x,y]==1.0 ; python_version > '3' --hash=sha256:00\n"
        "--only-binary :all:\n"
        "-i https://host/simple --extra-index-url=https://other/simple#egg\n"
        "gamma_delta\n"
    )
    project = write_project(tmp_path, text)
    inputs = read_inputs(project, {})
    assert [(one.name, one.line) for one in inputs.asked] == [("alpha", 2), ("beta", 5), ("gamma-delta", 8)]
    assert str(inputs.asked[0].requirement.specifier) in (">=1,<2", "<2,>=1")
    assert (inputs.options.index, inputs.options.extra) == ("https://host/simple", ("https://other/simple#egg",))
    assert "host" not in repr(inputs.options)


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable=src",
        "./local.whl",
        "../wheels/x-1.0-py3-none-any.whl",
        "https://user:s3cr3t@host/x.whl",
        "git+https://github.com/a/b",
        "alpha @ https://user:s3cr3t@host/x.whl",
        "alpha @ git+ssh://git@host/repo.git@v1",
        "file:///tmp/x.whl",
    ],
)
def test_what_no_index_serves_is_refused(tmp_path: Path, line: str) -> None:
    project = write_project(tmp_path, f"alpha\n{line}\n")
    with pytest.raises(ProjectError, match="not a package of an index") as caught:
        input_files(project)
    error = caught.value
    assert (error.file, error.line, error.exit_code) == ("requirements.in", 2, 2)
    assert "--find-links" in (error.hint or "")
    assert "s3cr3t" not in str(error)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alpha=1", "not a requirement"),
        ("alpha>>1", "not a requirement"),
        ("--no-binary alpha", "installed from wheels"),
        ("--frobnicate", "unknown option '--frobnicate'"),
        ("-r", "needs a value"),
        ("-r 'open", "not understood"),
        ("-r https://host/requirements.txt", "refers to a file on a server"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    project = write_project(tmp_path, f"# first\n\n{line}\n")
    with pytest.raises(ProjectError, match=said) as caught:
        input_files(project)
    assert (caught.value.file, caught.value.line) == ("requirements.in", 3)


def test_a_missing_file_names_who_refers_to_it(tmp_path: Path) -> None:
    project = write_project(tmp_path, "alpha\n-r nothing.in\n")
    with pytest.raises(ProjectError, match=r"nothing\.in does not exist") as caught:
        input_files(project)
    assert (caught.value.file, caught.value.line) == ("requirements.in", 2)
    project = write_project(tmp_path, "alpha\n", names=["other.in"])
    with pytest.raises(ProjectError, match=r"other\.in does not exist") as caught:
        input_files(project)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "lockship.toml"), 4)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.in").mkdir()
    with pytest.raises(ProjectError, match="cannot be read"):
        input_files(write_project(tmp_path, "alpha\n", names=["folder.in"]))


def test_not_utf8(tmp_path: Path) -> None:
    project = write_project(tmp_path, "alpha\n")
    (tmp_path / "requirements.in").write_bytes(b"alpha\n# caf\xe9\n")
    with pytest.raises(ProjectError, match="is not UTF-8") as caught:
        input_files(project)
    assert (caught.value.file, caught.value.line) == ("requirements.in", 2)


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    project = write_project(tmp_path, "alpha\n")
    (tmp_path / "requirements.in").write_bytes(b"\xef\xbb\xbfalpha\n")
    assert [one.name for one in read_inputs(project, {}).asked] == ["alpha"]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("[tool.x]\n", "pyproject.toml", r"has no \[project\] table"),
        ('[project]\nname = "a"\ndynamic = ["dependencies"]\n', "pyproject.toml", "dependencies are dynamic"),
        ('[project]\nname = "a"\ndependencies = "alpha"\n', "pyproject.toml", "not lists of strings"),
        ('[project]\nname = "a"\n', "pyproject.toml[gpu]", "has no extra 'gpu'"),
        ("[project\n", "pyproject.toml", "not valid TOML"),
        ('[project]\nname = "a"\ndependencies = ["b @ file:///x"]\n', "pyproject.toml", "not a package of an index"),
    ],
)
def test_a_pyproject_that_cannot_be_locked(tmp_path: Path, text: str, name: str, said: str) -> None:
    project = write_project(tmp_path, {"pyproject.toml": text}, names=[name])
    with pytest.raises(ProjectError, match=said):
        input_files(project)


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"environment\.yml is not a requirements file"):
        input_files(write_project(tmp_path, {"environment.yml": ""}, names=["environment.yml"]))


def test_checking_needs_no_secrets(tmp_path: Path) -> None:
    project = write_project(tmp_path, "--index-url https://${TOKEN}@host/simple\nalpha\n")
    assert list(input_files(project)) == ["requirements.in"]


def test_absolute_paths_are_recorded_relative(tmp_path: Path) -> None:
    (tmp_path / "team.txt").write_text("alpha<2\n")
    project = write_project(tmp_path / "p", f"-c {tmp_path}/team.txt\nalpha\n")
    assert list(input_files(project)) == ["../team.txt", "requirements.in"]
