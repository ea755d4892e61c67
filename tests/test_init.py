from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ProjectError, RefusedError
from builder.init import Findings, inspect, render, write
from builder.project import GitVersion, Project, load_project


def fill(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write `files` below `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def initialised(folder: Path) -> tuple[Findings, Project, str]:
    """What init finds, the project it makes of it, and the file's text."""
    findings = inspect(folder, os.environ)
    written = write(folder, findings)
    assert written[-1] == folder / "lockship.toml"
    return findings, load_project(folder / "lockship.toml"), (folder / "lockship.toml").read_text()


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "Churn Model (v2)"
    folder.mkdir()
    findings, project, text = initialised(folder)
    assert project.name == "churn-model-v2"
    assert project.version == "0.1.0"
    assert project.image.command == ("python",)
    assert project.python.requirements == ()
    assert "# requirements = " in text
    assert any("no requirements were found" in note for note in findings.notes)


def test_a_usual_project(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "requirements.in": "numpy\n",
            "requirements.txt": "numpy==2.0\n",
            "requirements-dev.txt": "pytest\n",
            "constraints.txt": "numpy<3\n",
            "churn/__init__.py": "",
            "churn/score.py": "",
            "churn/__main__.py": "",
            "tests/__init__.py": "",
            "setup.py": "",
            "model.onnx": b"x",
            "old/model.joblib": b"x" * 1000,
            ".env": "PASSWORD=x\n",
            "server.key": "x",
        },
    )
    findings, project, text = initialised(tmp_path)
    assert project.python.requirements == ("requirements.in",)
    assert project.python.constraints == ("constraints.txt",)
    assert [mapping.source for mapping in project.image.files] == ["churn/"]
    assert project.image.command == ("python", "-m", "churn")
    assert project.model is not None
    assert project.model.source == "model.onnx"
    assert project.image.env == {"MODEL": "/app/model.onnx"}
    assert '# source = "old/model.joblib"' in text
    assert '# not locked: "requirements-dev.txt"' in text
    assert findings.notes == ()


def test_credentials_are_never_named(tmp_path: Path) -> None:
    fill(tmp_path, dict.fromkeys((".env", ".env.py", ".netrc", "id_rsa", "server.key", ".ssh/__init__.py"), "secret"))
    fill(tmp_path, {".ssh/model.pkl": "x", "app.py": "print(__name__)"})
    _, project, text = initialised(tmp_path)
    assert [mapping.source for mapping in project.image.files] == ["app.py"]
    assert project.model is None
    for name in (".netrc", "id_rsa", "server.key", ".ssh"):
        assert name not in text


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["requirements.txt"], "requirements.txt"),
        (["requirements.txt", "pyproject.toml"], "pyproject.toml"),
        (["requirements.in", "pyproject.toml"], "requirements.in"),
        (["requirements/prod.txt", "requirements/dev.txt", "requirements/base.in"], "requirements/base.in"),
        (["requirements-serving.in", "requirements-train.in"], "requirements-serving.in"),
        (["requirements-dev.txt"], None),
    ],
)
def test_which_requirements_are_chosen(tmp_path: Path, files: list[str], chosen: str | None) -> None:
    pyproject = '[project]\nname = "a"\nversion = "1"\ndependencies = ["numpy"]\n'
    fill(tmp_path, {name: pyproject if name == "pyproject.toml" else "numpy\n" for name in files})
    _, project, text = initialised(tmp_path)
    assert project.python.requirements == ((chosen,) if chosen else ())
    for name in files:
        assert name in text, "what was not chosen is named in a comment"


def test_pyproject(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "pyproject.toml": """
                [project]
                name = "Fraud_Score"
                version = "2.3.0"
                requires-python = ">=3.12"
                dependencies = ["numpy"]
                [project.optional-dependencies]
                serve = ["uvicorn"]
                [project.scripts]
                fraud = "fraud.cli:app.run"
                """,
            "src/fraud/__init__.py": "",
            "src/fraud/cli.py": "",
        },
    )
    _, project, text = initialised(tmp_path)
    assert project.name == "fraud-score"
    assert project.version == "2.3.0"
    # Debian has no 3.12; the first that suits is trixie's
    assert (project.python.version, project.image.base) == ("3.13", "debian:trixie")
    assert [(mapping.source, mapping.destination) for mapping in project.image.files] == [("src/fraud/", "/app/fraud")]
    assert project.image.command == ("python", "-c", "import sys; from fraud.cli import app; sys.exit(app.run())")
    assert "pyproject.toml[serve]" in text


def test_poetry_is_said_to_be_unread(tmp_path: Path) -> None:
    fill(tmp_path, {"pyproject.toml": "[tool.poetry.dependencies]\nnumpy = '*'\n"})
    findings, project, _ = initialised(tmp_path)
    assert project.python.requirements == ()
    assert any("poetry" in note for note in findings.notes)


def test_a_broken_pyproject_is_said_and_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, {"pyproject.toml": "[project\n", "requirements.txt": ""})
    findings, project, _ = initialised(tmp_path)
    assert project.python.requirements == ("requirements.txt",)
    assert any("pyproject.toml is not valid TOML" in note for note in findings.notes)


@pytest.mark.parametrize(
    ("text", "version", "base", "said"),
    [
        ("3.11.4\n", "3.11", "debian:bookworm", False),
        ("# ours\ncpython-3.13\n", "3.13", "debian:trixie", False),
        ("3.12\n", "3.13", "debian:trixie", True),
        ("3.8.10\n", "3.11", "debian:bookworm", True),
        ("3.14\n", "3.13", "debian:trixie", True),
        ("my-virtualenv\n", "3.11", "debian:bookworm", False),
    ],
)
def test_python_version_file(tmp_path: Path, text: str, version: str, base: str, said: bool) -> None:
    fill(tmp_path, {".python-version": text, "requirements.in": ""})
    findings, project, _ = initialised(tmp_path)
    assert (project.python.version, project.image.base) == (version, base)
    assert bool(findings.notes) is said


ENVIRONMENT = """\
name: churn
channels:
  - conda-forge
dependencies:
  - python=3.13
  - numpy=2.1   # fast
  - conda-forge::"lightgbm>=4"
  - pip
  - pip:
      - --extra-index-url https://me:hunter2@packages.example.com/simple
      - onnxruntime==1.20.0
      - -r more.txt
  - scipy
prefix: /home/ada/miniconda3/envs/churn
"""


def test_environment_yml_makes_a_conda_project(tmp_path: Path) -> None:
    fill(tmp_path, {"environment.yml": ENVIRONMENT, "score.py": "__name__"})
    findings, project, text = initialised(tmp_path)
    assert project.python.conda == ("environment.yml",)
    assert project.python.requirements == ()
    assert "version" not in project.python.model_fields_set, "the environment's own counts"
    assert (project.image.command, project.image.packages) == (("python", "score.py"), ())
    assert (findings.generated, findings.left_out) == ((), ())
    assert any("pip install 'lockship[conda]'" in note for note in findings.notes)
    assert "left out" not in text
    assert "hunter2" not in text + "".join(findings.notes)


def test_environment_yml_in_one_line(tmp_path: Path) -> None:
    fill(tmp_path, {"environment.yml": "channels: [x]\ndependencies: [python=3.12, \"numpy>=2,<3\", 'r-base']\n"})
    findings, project, _ = initialised(tmp_path)
    assert project.python.conda == ("environment.yml",)
    assert findings.system


def test_environment_yml_without_conda_packages_gives_its_pip_section(tmp_path: Path) -> None:
    kept = [line for line in ENVIRONMENT.splitlines() if not re.search("numpy|lightgbm|scipy", line)]
    fill(tmp_path, {"environment.yml": "\n".join(kept) + "\n"})
    findings, project, text = initialised(tmp_path)
    assert project.python.requirements == ("requirements.in",)
    generated = (tmp_path / "requirements.in").read_text()
    assert generated.splitlines()[1:] == ["onnxruntime==1.20.0", "-r more.txt"]
    assert (project.python.version, project.python.conda) == ("3.13", ())
    assert "hunter2" not in text + generated + "".join(findings.notes)


def test_an_environment_of_r(tmp_path: Path) -> None:
    environment = "channels: [conda-forge]\ndependencies:\n  - r-base=4.3\n  - r-jsonlite\n"
    files = dict.fromkeys(("helpers.R", "score.R", "install.R", "train_model.R", "test_score.r", "R/more.R"), "")
    fill(tmp_path, {"environment.yml": environment, **files})
    _, project, _ = initialised(tmp_path)
    assert project.python.conda == ("environment.yml",)
    assert project.image.command == ("Rscript", "score.R")
    assert {"dash", "sed"} < set(project.image.packages)
    assert [one.source for one in project.image.files] == ["helpers.R", "score.R"]


def test_environment_yml_beside_requirements_is_only_mentioned(tmp_path: Path) -> None:
    fill(tmp_path, {"environment.yml": ENVIRONMENT, "requirements.txt": "numpy\n"})
    findings, project, text = initialised(tmp_path)
    assert project.python.requirements == ("requirements.txt",)
    assert findings.generated == ()
    note = next(note for note in findings.notes if "its conda packages are left out" in note)
    assert 'conda = "environment.yml"' in note
    for package in ("numpy=2.1", "lightgbm", "scipy"):
        assert package in text
        assert package in note
    assert "conda-forge\n" not in text


def test_git_names_and_versions(tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    fill(folder, {"requirements.in": ""})
    git(folder, "init")
    git(folder, "remote", "add", "origin", "git@example.com:team/Churn.Model.git")
    assert inspect(folder, os.environ).version == "0.1.0"
    assert inspect(folder, os.environ).name == "churn-model"
    git(folder, "add", ".")
    git(folder, "commit", "-m", "one")
    git(folder, "tag", "latest")
    assert inspect(folder, os.environ).version == "0.1.0", "a tag that is no version"
    git(folder, "tag", "-d", "latest")
    git(folder, "tag", "v1.4.0")
    _, project, _ = initialised(folder)
    assert isinstance(project.version, GitVersion)


def test_a_folder_inside_a_repository_has_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "projects" / "fraud"
    fill(folder, {"requirements.in": ""})
    git(tmp_path, "init")
    git(tmp_path, "remote", "add", "origin", "https://example.com/team/monorepo")
    assert inspect(folder, os.environ).name == "fraud"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"train.py": "__name__", "main.py": "__name__"}, ("python", "main.py")),
        ({"zoo.py": "__name__", "serve_model.py": "__name__"}, ("python", "serve_model.py")),
        ({"helpers.py": ""}, ("python",)),
        ({"a/__init__.py": "", "a/__main__.py": "", "main.py": "__name__"}, ("python", "-m", "a")),
        (
            {"a/__init__.py": "", "a/__main__.py": "", "api/__init__.py": "", "api/__main__.py": ""},
            ("python", "-m", "api"),
        ),
    ],
)
def test_the_likely_command(tmp_path: Path, files: dict[str, str | bytes], command: tuple[str, ...]) -> None:
    fill(tmp_path, files)
    assert initialised(tmp_path)[1].image.command == command


@pytest.mark.parametrize(
    ("files", "model"),
    [
        ({"a.pkl": b"x" * 9, "b.onnx": b"x"}, "b.onnx"),
        ({"a.joblib": b"x" * 9, "b.joblib": b"x" * 99}, "b.joblib"),
        ({"cache.joblib": b"x" * 99, "models/model.joblib": b"x"}, "models/model.joblib"),
        ({"tests/model.onnx": b"x", ".venv/lib/model.onnx": b"x", "MODEL.UBJ": b"x"}, "MODEL.UBJ"),
    ],
)
def test_the_likely_model(tmp_path: Path, files: dict[str, str | bytes], model: str) -> None:
    fill(tmp_path, files)
    project = initialised(tmp_path)[1]
    assert project.model is not None
    assert project.model.source == model


def test_a_model_to_convert_is_where_its_conversion_will_be(tmp_path: Path) -> None:
    fill(tmp_path / "Churn", {"out/model.skops": b"x"})
    _, project, text = initialised(tmp_path / "Churn")
    assert project.model is not None
    assert project.image.env == {"MODEL": "/app/churn.onnx"}
    assert project.model.destination(project.name) == "/app/churn.onnx"
    assert "# sample = " in text
    assert "then lockship convert" in text


def test_it_refuses_to_overwrite(tmp_path: Path) -> None:
    findings = inspect(tmp_path, os.environ)
    write(tmp_path, findings)
    before = (tmp_path / "lockship.toml").read_bytes()
    with pytest.raises(RefusedError) as caught:
        inspect(tmp_path, os.environ)
    assert caught.value.exit_code == 7
    assert "there already" in caught.value.message
    assert caught.value.hint is not None
    # somebody else was faster between the look and the write
    with pytest.raises(RefusedError):
        write(tmp_path, findings)
    assert (tmp_path / "lockship.toml").read_bytes() == before


def test_a_dangling_link_is_there_too(tmp_path: Path) -> None:
    (tmp_path / "lockship.toml").symlink_to("elsewhere.toml")
    with pytest.raises(RefusedError):
        inspect(tmp_path, os.environ)


def test_it_refuses_beside_a_table_in_pyproject(tmp_path: Path) -> None:
    fill(tmp_path, {"pyproject.toml": '[tool.lockship]\nname = "a"\n'})
    with pytest.raises(RefusedError, match=r"tool\.lockship") as caught:
        inspect(tmp_path, os.environ)
    assert caught.value.exit_code == 7
    assert not (tmp_path / "lockship.toml").exists()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no such folder") as caught:
        inspect(tmp_path / "nowhere", os.environ)
    assert caught.value.exit_code == 2


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    findings = inspect(tmp_path, os.environ)
    (tmp_path / "gone").mkdir()
    target = tmp_path / "gone"
    target.rmdir()
    target.write_text("a file where the folder was")
    with pytest.raises(ProjectError, match="cannot write") as caught:
        write(target, findings)
    assert caught.value.exit_code == 2


def test_looking_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, {"environment.yml": ENVIRONMENT, "app.py": "raise SystemExit('imported')"})
    before = sorted(tmp_path.rglob("*"))
    inspect(tmp_path, os.environ)
    assert sorted(tmp_path.rglob("*")) == before


# whatever the folder looks like, the result loads

_USUAL_NAMES = """
    requirements.in requirements.txt requirements requirements-dev.txt pyproject.toml .python-version environment.yml
    environment.yaml constraints.txt src model.onnx model.pkl __init__.py __main__.py main.py app.py setup.py .env
    tests pkg .git Häuschen quo"te.py back\\slash.onnx -rf.py ~.py #.onnx {{found}}.onnx \x7f.py
""".split()  # noqa: SIM905
_NAMES = st.sampled_from([*_USUAL_NAMES, "new\nline.py", "tab\t.onnx", "sp ace.py"]) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 100)
_CONTENTS = st.sampled_from(
    [
        b"3.12\n",
        b"numpy\n",
        ENVIRONMENT.encode(),
        b"dependencies:\n  - pip:\n    - a\n - b\n- c=1\n",
        b'[project]\nname = "\\u0000"\nversion = "a b"\ndependencies = ["x"]\nrequires-python = "\\n>=3"\n',
        b'[project]\nname = ["x"]\nversion = 3\nscripts = { "a" = "b:c", d = 1, e = "f:g.h" }\nrequires-python = 3\n',
        b'[project.optional-dependencies]\n"a\\nb" = []\n"c" = 1\n[tool]\npoetry = 1\n',
        b"project = 1\ntool = 2\n",
        b"print(__name__)",
        b"\xff\xfe\x00",
    ]
) | st.binary(max_size=60)
_TREES = st.dictionaries(st.lists(_NAMES, min_size=1, max_size=3).map(tuple), _CONTENTS, max_size=12)


@given(_TREES, st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=20))
def test_whatever_the_folder_looks_like_the_result_loads(tree: dict[tuple[str, ...], bytes], name: str) -> None:
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, name if name not in (".", "..") and len(name.encode()) < 100 else "x")
        folder.mkdir(exist_ok=True)
        for parts, content in tree.items():
            path = folder.joinpath(*parts)
            if parts[0] == "lockship.toml":
                continue  # that it refuses has a test of its own
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError:
                continue  # a file where another path has a folder
        findings = inspect(folder, {"PATH": os.environ["PATH"], "GIT_CEILING_DIRECTORIES": base})
        text = render(findings)
        (folder / "lockship.toml").write_text(text, newline="")
        project = load_project(folder / "lockship.toml")
        assert project.name == findings.name
        assert project.image.command == findings.command
        assert [mapping.source for mapping in project.image.files] == [source for source, _ in findings.files]
        assert all((folder / mapping.source).exists() for mapping in project.image.files)
        assert project.model is None or (folder / project.model.source).is_file()
        assert ".env" not in [mapping.source for mapping in project.image.files]


def test_names_that_are_not_unicode_are_passed_over(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.py")).write_text("__name__")
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.onnx")).write_text("x")
    _, project, _ = initialised(tmp_path)
    assert project.image.files == ()
    assert project.model is None
