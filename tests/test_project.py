from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import Platform
from builder.errors import LockshipError, ProjectError
from builder.project import GitVersion, Project, find_project, load_project, project_inputs
from builder.templating import toml

BASE = 'name = "churn"\nversion = "1.4.0"\n'

DESIGN = """
name = "churn"
version = "1.4.0"
source = "https://example.com/ml/churn"

[python]
version = "3.11"
requirements = ["requirements.in", "pyproject.toml[serve]"]
constraints = ["../packages.txt"]
resolver = "pip-tools"
allow-build = ["legacy"]
bytecode = false

[image]
base = "debian:bookworm"
packages = ["libgomp1", "g++-12"]
platforms = ["linux/amd64", "linux/arm64"]
files = ["churn/", { source = "conf/prod.yaml", target = "/etc/churn.yaml" }, "./a//b"]
command = ["python", "-m", "churn.score"]
env = { MODEL = "/app/model.onnx" }
user = 0
ports = [8000]

[[image.sources]]
uri = "https://packages.example.com/debian"

[model]
source = "out/model.onnx"

[models.second]
source = "second.onnx"
target = "/models/second.onnx"

[store]
repository = "registry.example.com/ml/churn"
"""


def load(folder: Path, text: str, name: str = "lockship.toml") -> Project:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return load_project(folder / name)


def refused(folder: Path, text: str, name: str = "lockship.toml") -> ProjectError:
    """The error for a bad project file; it names the file and exits 2."""
    with pytest.raises(ProjectError) as caught:
        load(folder, text, name)
    assert caught.value.file == str(folder / name)
    assert caught.value.exit_code == 2
    return caught.value


def test_everything_there_is_to_say(tmp_path: Path) -> None:
    project = load(tmp_path, DESIGN)
    assert (project.name, project.version) == ("churn", "1.4.0")
    assert project.root == tmp_path
    assert project.python.requirements == ("requirements.in", "pyproject.toml[serve]")
    assert project.python.allow_build == ("legacy",)
    assert project.image.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert [mapping.destination for mapping in project.image.files] == ["/app/churn", "/etc/churn.yaml", "/app/a/b"]
    targets = [model.destination(name) for name, model in project.named_models]
    assert targets == ["/app/model.onnx", "/models/second.onnx"]
    assert project.image.sources[0].suites == ("{suite}",)
    assert project.image.user == 0
    assert project.path("a/b") == tmp_path / "a/b"


def test_little_has_to_be_said(tmp_path: Path) -> None:
    project = load(tmp_path, BASE)
    assert project.image.base == "debian:bookworm"
    assert project.image.platforms == (Platform("linux", "amd64"),)
    assert project.image.user == 65532
    assert project.python.resolver == "uv"
    assert project.all_models == ()
    assert project.store.repository is None


def test_a_version_from_git(tmp_path: Path) -> None:
    project = load(tmp_path, 'name = "churn"\nversion = { git = true }\n')
    assert isinstance(project.version, GitVersion)
    assert project.with_version("1.5.0").version == "1.5.0"


def test_a_project_does_not_change(tmp_path: Path) -> None:
    project = load(tmp_path, BASE)
    with pytest.raises(ValueError, match="frozen"):
        project.name = "other"  # type: ignore[misc]


def test_windows_line_ends_do(tmp_path: Path) -> None:
    assert load(tmp_path, DESIGN.replace("\n", "\r\n")) == load(tmp_path, DESIGN)


# bad input


@pytest.mark.parametrize(
    ("text", "line", "key", "near"),
    [
        (BASE + "nmae = 1\n", 3, "nmae", "name"),
        ('nmae = "a"\nversion = "1"\n', 1, "nmae", "name"),
        (BASE + "[pyhton]\n", 3, "pyhton", "python"),
        (BASE + '\n[python]\n# why\nverison = "3.11"\n', 6, "python.verison", "version"),
        (BASE + "[python]\nallow_build = []\n", 4, "python.allow_build", "allow-build"),
        (BASE + '[image]\nuser = 1\nplatform = ["linux/amd64"]\n', 5, "image.platform", "platforms"),
        (BASE + "image.bsae = 'x'\n", 3, "image.bsae", "base"),
        (BASE + '["image"]\n"platfrms" = []\n', 4, "image.platfrms", "platforms"),
        (BASE + '[model]\nsorce = "x"\n', 4, "model.sorce", "source"),
        (BASE + '[models.big]\nsource = "x"\ntargte = "/y"\n', 5, "models.big.targte", "target"),
        (BASE + '[[image.sources]]\nurl = "x"\n', 4, "image.sources.url", "uri"),
        (BASE + '[image]\nfiles = ["a", { sorce = "b" }]\n', 4, "image.files.sorce", "source"),
        (BASE + '[image]\ncommand = [\n  "a",\n]\nporst = [1]\n', 7, "image.porst", "ports"),
        (BASE + '[store]\nrepositry = "x"\n', 4, "store.repositry", "repository"),
    ],
)
def test_an_unknown_key_names_the_nearest_and_its_line(
    tmp_path: Path, text: str, line: int, key: str, near: str
) -> None:
    error = refused(tmp_path, text)
    assert error.message == f"unknown key {key!r}"
    assert error.hint == f"did you mean {near!r}?"
    assert error.line == line


@pytest.mark.parametrize("key", ["zzz", "root", "file"])
def test_an_unknown_key_like_nothing_lists_what_there_is(tmp_path: Path, key: str) -> None:
    error = refused(tmp_path, BASE + f'{key} = "/x"\n')
    assert error.message == f"unknown key {key!r}"
    known = (
        "data, database, depends-on, image, java, model, models, name, python, retention, signing, source, stages, "
        "store, version"
    )
    assert error.hint == f"known here: {known}"
    assert error.line == 3


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "'name' is missing"),
        ('name = "a"\n', 1, "'version' is missing"),
        (BASE + "[model]\n", 3, "model: needs either source"),
        (BASE + "python = 3\n", 3, "python: should be a table (got 3)"),
        (BASE + 'model = "x"\n', 3, "model: should be a table (got 'x')"),
        (BASE + "[python]\nversion = 3.11\n", 4, "python.version: should be a string, in quotes (got 3.11)"),
        (BASE + '[python]\nversion = "3"\n', 4, "a version of Python is written like \"3.11\" (got '3')"),
        (BASE + '[python]\nrequirements = "r.in"\n', 4, "python.requirements: should be a list (got 'r.in')"),
        (BASE + '[python]\nresolver = "poetry"\n', 4, "should be 'uv' or 'pip-tools' (got 'poetry')"),
        (BASE + '[python]\nbytecode = "maybe"\n', 4, "python.bytecode: should be a valid boolean"),
        (BASE + '[python]\nconda = "../env.yml"\n', 4, "may not leave the project's folder"),
        (BASE + '[python]\nconda = "e.yml"\nrequirements = ["r.in"]\n', 3, "python: either requirements or conda"),
        (BASE + '[python]\nconda = "e.yml"\nconstraints = ["c"]\n', 3, "python: constraints bound requirements"),
        (BASE + '[python]\nskip-scripts = ["a"]\n', 3, "python: skip-scripts is for conda environments"),
        (BASE + '[python]\nconda = "e.yml"\nsolver = "poetry"\n', 5, "a solver is rattler, conda, mamba"),
        (BASE + '[python]\nconda = "e.yml"\nvirtual-packages = { CUDA = "1" }\n', 5, "a virtual package is called"),
        (BASE + '[python]\nconda = "e.yml"\nvirtual-packages = { cuda = "" }\n', 5, "a virtual package's version"),
        (BASE + '[image]\nplatforms = ["windows/amd64"]\n', 4, "unknown platform 'windows/amd64'"),
        (BASE + "[image]\nplatforms = []\n", 4, "image.platforms: needs at least one item"),
        (BASE + '[image]\ncommand = "python -m x"\n', 4, "image.command: a command is a list of words"),
        (BASE + '[image]\nentrypoint = "x"\n', 4, "image.entrypoint: a command is a list of words"),
        (BASE + "[image]\ncommand = [1]\n", 4, "image.command: should be a string, in quotes (got 1)"),
        (BASE + '[image]\nuser = "root"\n', 4, "image.user: should be a valid integer"),
        (BASE + "[image]\nuser = -1\n", 4, "image.user: should be greater than or equal to 0 (got -1)"),
        (BASE + "[image]\nports = [65536]\n", 4, "image.ports: should be less than or equal to 65535"),
        (BASE + '[image]\nenv = { "A B" = "x" }\n', 4, "not the name of an environment variable (got 'A B')"),
        (BASE + "[image]\nenv = { GitHub = 1 }\n", 4, "image.env.GitHub: should be a string, in quotes (got 1)"),
        (BASE + '[image]\npackages = ["lib gomp"]\n', 4, "not the name of a Debian package (got 'lib gomp')"),
        (BASE + '[image]\nworkdir = "app"\n', 4, "a destination is an absolute path in the image"),
        (BASE + '[model]\nsource = "x"\ntarget = "/a/../b"\n', 5, "a destination is an absolute path in the image"),
        ('name = "Churn"\nversion = "1"\n', 1, "name: a name is lower-case letters"),
        ('name = "a..b"\nversion = "1"\n', 1, "name: a name is lower-case letters"),
        ('name = "a"\nversion = "1 2"\n', 2, "version: a version becomes an image tag"),
        ('name = "a"\nversion = "-1"\n', 2, "version: a version becomes an image tag"),
        ('name = "a"\nversion = 1.0\n', 2, "version: should be a string, or { git = true } (got 1.0)"),
        ('name = "a"\nversion = { git = false }\n', 2, "version: should be a string, or { git = true }"),
        ('name = "a"\nversion = { gti = true }\n', 2, "version: should be a string, or { git = true }"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, line: int, message: str) -> None:
    error = refused(tmp_path, text)
    assert message in error.message
    assert error.line == line


@pytest.mark.parametrize("path", ["/etc/passwd", "../secrets", "a/../../b", "~/x", "a\\\\b", "", "a\\u0000b"])
@pytest.mark.parametrize(
    "table",
    ["[python]\nrequirements = [{}]", "[image]\nfiles = [{}]", "[model]\nsource = {}"],
    ids=["py", "files", "model"],
)
def test_paths_may_not_leave_the_project(tmp_path: Path, table: str, path: str) -> None:
    error = refused(tmp_path, BASE + table.format(f'"{path}"') + "\n")
    assert "may not leave the project's folder" in error.message
    assert error.line == 4


def test_constraints_may_lie_outside(tmp_path: Path) -> None:
    assert load(tmp_path, BASE + '[python]\nconstraints = ["/opt/team/packages.txt"]\n').python.constraints


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BASE + "a = \n", 3),
        (BASE + 'name = "again"\n', 3),
        (BASE + "[image\n", 3),
        ('name = "a\nversion = "1"\n', 1),
        (BASE + "[image]\nfiles = [\n", 5),
        ("\ufeff" + BASE, 1),
    ],
)
def test_malformed_toml(tmp_path: Path, text: str, line: int) -> None:
    error = refused(tmp_path, text)
    assert error.message.startswith("not valid TOML: ")
    assert error.line == line


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "lockship.toml"
    path.write_bytes(b'name = "a"\n# caf\xe9\nversion = "1"\n')
    with pytest.raises(ProjectError, match="is not UTF-8") as caught:
        load_project(path)
    assert (caught.value.line, caught.value.exit_code) == (2, 2)
    assert caught.value.hint is not None


def test_credentials_are_not_repeated(tmp_path: Path) -> None:
    error = refused(tmp_path, BASE + 'source = "https://me:hunter2@example.com/x"\n')
    assert "no credentials" in error.message
    assert "hunter2" not in str(error)
    assert "hunter2" not in (error.hint or "")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="cannot read: No such file"):
        load_project(tmp_path / "lockship.toml")


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.sampled_from(["lockship.toml", "pyproject.toml"])
)
def test_whatever_the_file_says_it_loads_or_is_refused(text: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for document in (text, BASE + text, "[tool.lockship]\n" + BASE + text):
            try:
                load(Path(folder), document, name)
            except LockshipError as error:
                assert error.exit_code == 2


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab./~ ", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["source", "git", "a"]), inner, max_size=2)
    ),
    max_leaves=3,
)


@given(
    st.dictionaries(st.sampled_from(["name", "version", "python", "image", "model", "models", "store", "x"]), _VALUES),
    st.dictionaries(st.sampled_from(["base", "files", "env", "user", "command", "sources", "x"]), _VALUES),
)
def test_any_values_of_any_types_load_or_are_refused(document: dict[str, object], image: dict[str, object]) -> None:
    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if item is not None}
        return [clean(item) for item in value if item is not None] if isinstance(value, list) else value

    text = "".join(f"{key} = {toml(clean(value))}\n" for key, value in document.items() if value is not None)
    if "image" not in document:
        text += f"image = {toml(clean(image))}\n"
    with tempfile.TemporaryDirectory() as folder:
        try:
            load(Path(folder), text)
        except LockshipError as error:
            assert error.exit_code == 2
            assert error.line is not None
            assert 1 <= error.line <= max(1, text.count("\n"))


# [tool.lockship] in pyproject.toml


def test_pyproject_says_name_and_version_once(tmp_path: Path) -> None:
    text = '[project]\nname = "churn"\nversion = "2.0"\n[tool.lockship.image]\nbase = "debian:trixie"\n'
    project = load(tmp_path, text, "pyproject.toml")
    assert (project.name, project.version, project.image.base) == ("churn", "2.0", "debian:trixie")
    text = text.replace("[tool.lockship.image]", "[tool.lockship]\nversion = { git = true }\n[tool.lockship.image]")
    assert isinstance(load(tmp_path, text, "pyproject.toml").version, GitVersion)


def test_errors_in_pyproject_have_their_line_too(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "churn"\nversion = "2.0"\n\n[tool.other]\nimage = 1\n\n[tool.lockship.image]\nbsae = "x"\n'
    )
    error = refused(tmp_path, text, "pyproject.toml")
    assert (error.message, error.hint, error.line) == ("unknown key 'image.bsae'", "did you mean 'base'?", 9)


def test_a_name_that_only_pyproject_allows_can_be_overridden(tmp_path: Path) -> None:
    text = '[project]\nname = "Fraud_Score"\nversion = "2.0"\n[tool.lockship]\n'
    error = refused(tmp_path, text, "pyproject.toml")
    assert error.line == 2
    assert error.hint is not None
    assert "under [tool.lockship]" in error.hint
    assert load(tmp_path, text + 'name = "fraud-score"\n', "pyproject.toml").name == "fraud-score"


@pytest.mark.parametrize("text", ["", "tool = 3\n", "[tool]\nlockship = 3\n", "project = 1\n[tool.black]\n"])
def test_a_pyproject_without_the_table(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text, "pyproject.toml")
    assert error.message == "has no [tool.lockship] table"
    assert error.hint is not None
    assert "lockship init" in error.hint


# finding it


def test_the_nearest_project_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "lockship.toml").write_text(BASE)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_project(inner) == tmp_path / "lockship.toml"
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.black]\n")
    assert find_project(inner) == tmp_path / "lockship.toml"
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.lockship]\n")
    assert find_project(inner) == tmp_path / "a" / "pyproject.toml"
    (tmp_path / "a" / "lockship.toml").write_text(BASE)
    assert find_project(inner) == tmp_path / "a" / "lockship.toml"
    assert find_project(tmp_path / "lockship.toml") == tmp_path / "lockship.toml"


def test_a_pyproject_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "lockship.toml").write_text(BASE)
    inner = tmp_path / "a"
    inner.mkdir()
    for content in (b"\xff", b"tool = 3\n", b"[broken\n", b"[tool]\nlockship = 1\n"):
        (inner / "pyproject.toml").write_bytes(content)
        assert find_project(inner) == tmp_path / "lockship.toml"


def test_no_project_file_anywhere(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no lockship\.toml in .* or above") as caught:
        find_project(tmp_path)
    assert caught.value.hint is not None
    assert "lockship init" in caught.value.hint


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no such folder"):
        find_project(tmp_path / "nowhere")


# what decides the lock


def test_the_inputs_of_the_lock_are_what_resolving_depends_on(tmp_path: Path) -> None:
    before = project_inputs(load(tmp_path, DESIGN))
    json.dumps(before)
    for old, new in [
        ('version = "3.11"', 'version = "3.13"'),
        ("debian:bookworm", "debian:trixie"),
        ('"libgomp1"', '"libssl3"'),
        ("packages.example.com", "mirror.example.com"),
        ("pip-tools", "uv"),
        ("bytecode = false", "bytecode = true"),
        ('["legacy"]', "[]"),
    ]:
        assert project_inputs(load(tmp_path, DESIGN.replace(old, new))) != before, old
    for old, new in [
        ('"1.4.0"', '"1.5.0"'),
        ("churn.score", "churn.serve"),
        ("user = 0", "user = 1"),
        ("out/model.onnx", "new.onnx"),
        ('["linux/amd64", "linux/arm64"]', '["linux/arm64", "linux/amd64"]'),
        ('["libgomp1", "g++-12"]', '["g++-12", "libgomp1"]'),
    ]:
        assert project_inputs(load(tmp_path, DESIGN.replace(old, new))) == before, old


def test_dots_behind_a_link_lead_where_the_system_says(tmp_path: Path) -> None:
    for folder in ("near", "far/inner"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "near/lockship.toml").write_text("")
    (tmp_path / "far/lockship.toml").write_text("")
    (tmp_path / "near/link").symlink_to(tmp_path / "far/inner")
    assert find_project(tmp_path / "near/link/..") == tmp_path / "far/lockship.toml"
    assert find_project(tmp_path / "far/../near") == tmp_path / "near/lockship.toml"
