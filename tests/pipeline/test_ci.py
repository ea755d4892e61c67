"""Rendered CI pipelines: valid as their providers see them, safe with any folder's name, and they run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ProjectError, RefusedError, StoreError, UsageError
from builder.pipeline.ci import PROVIDERS, Pipeline, Provider, export_ci, pipeline_for, render_pipeline
from builder.pipeline.context import Context
from builder.project import load_project
from tests.support.pipelines import Runner, read_yaml, steps
from tests.support.registry import PASSWORD, USER, RegistryServer, serve_registry
from tests.support.require import need
from tests.support.wheels import make_wheel
from tests.support.world import Finished, World

ROOT = Path(__file__).parents[2]
HOSTILE = 'it\'s "a" #1: [x] {y} & *z !t | > % @ `id` ; ${{'.replace("${{", "") + " – ü\U0001f600"

PLAIN = Pipeline(
    name="churn",
    folder=".",
    repository="registry.example.com/ml/churn",
    host="registry.example.com",
    platforms=("linux/amd64",),
    branch="main",
    from_git=False,
    signs=False,
    image="docker.io/library/python:3.13-bookworm",
    lockship="1.2.3",
)
CASES = {
    "plain": PLAIN,
    "monorepo": replace(PLAIN, folder="services/churn", platforms=("linux/amd64", "linux/arm64")),
    "git version": replace(PLAIN, from_git=True, branch="trunk"),
    "the provider's registry": replace(PLAIN, host="ghcr.io", repository="ghcr.io/acme/churn"),
    "signed": replace(PLAIN, signs=True),
    "signed, from git, at the provider's": replace(PLAIN, signs=True, from_git=True, host="ghcr.io"),
    "everything": replace(
        PLAIN, signs=True, extras=("conda", "data", "database"), drivers=("psycopg[binary]",), variables=("DB", "NO")
    ),
    "a port": replace(PLAIN, host="registry.lab:5000", repository="registry.lab:5000/churn"),
    "hostile folder": replace(PLAIN, folder=HOSTILE),
    "a name like a number": replace(PLAIN, name="1.0", from_git=True),
    "a name like a word of YAML's": replace(PLAIN, name="null", lockship="0.1.dev3+g1234"),
}


def cases() -> Any:
    return pytest.mark.parametrize("pipeline", CASES.values(), ids=list(CASES))


# what the providers say


@cache
def validator(name: str) -> Any:
    """The provider's published schema."""
    need("check-jsonschema", find_spec("check_jsonschema"), "a dev dependency")
    import check_jsonschema
    import jsonschema

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor"
    schema = json.loads((folder / f"{name}.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def schema_errors(name: str, document: Any) -> list[str]:
    """What it has against `document`."""
    return [str(error)[:500] for error in validator(name).iter_errors(document)]


SCHEMAS = {"github": "github-workflows", "gitlab": "gitlab-ci", "azure": "azure-pipelines"}


@cases()
@pytest.mark.parametrize("provider", SCHEMAS)
def test_the_published_schema_is_kept(provider: Provider, pipeline: Pipeline) -> None:
    document = read_yaml(render_pipeline(pipeline, provider), scalars=provider != "azure")
    assert schema_errors(SCHEMAS[provider], document) == []


@pytest.mark.parametrize("provider", SCHEMAS)
def test_the_schema_would_tell(provider: Provider) -> None:
    document = read_yaml(render_pipeline(PLAIN, provider), scalars=provider != "azure")
    {
        "github": lambda: document["jobs"]["check"].update(step=1),
        "gitlab": lambda: document["churn:check"].update(script=1),
        "azure": lambda: document["stages"][0]["jobs"][0].update(step="1"),
    }[provider]()
    assert schema_errors(SCHEMAS[provider], document)


def test_zizmor_finds_nothing(tmp_path: Path) -> None:
    program = shutil.which("zizmor", path=f"{Path(sys.executable).parent}:{ROOT}/.venv/bin")
    need("zizmor", program, "a dev dependency")
    assert program is not None
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    files = []
    for number, pipeline in enumerate(CASES.values()):
        files.append(folder / f"{number}.yml")
        files[-1].write_text(render_pipeline(pipeline, "github"))
    command = [program, "--offline", "--no-config", "--no-progress", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    files[0].write_text(files[0].read_text().replace("lockship plan", "echo ${{ github.head_ref }}"))
    assert subprocess.run(command, capture_output=True, check=False).returncode


GROOVY = (
    "https://repo1.maven.org/maven2/org/apache/groovy/groovy/4.0.24/groovy-4.0.24.jar",
    Digest("sha256:38db8aa6f48b96aa11dd75745b96ab2991ddc9a09f5f3840fae704b84a588867"),
)
COMPILE = """
import org.codehaus.groovy.control.*
args.each { file ->
  def unit = new CompilationUnit()
  unit.addSource(new File(file))
  try { unit.compile(Phases.CLASS_GENERATION); println('good') }
  catch (CompilationFailedException error) { println('bad') }
}
"""


@pytest.fixture(scope="module")
def groovy(shared_cache: Cache) -> Path:
    """The jar with Groovy's own compiler."""
    import httpx

    url, digest = GROOVY
    need("java", shutil.which("java"), "Groovy runs on it")
    if (there := shared_cache.checked(digest)) is not None:
        return there
    with shared_cache.writer() as writer:
        try:
            writer.write(httpx.get(url, follow_redirects=True).raise_for_status().content)
        except httpx.HTTPError as error:
            need("Maven Central", False, str(error))
        writer.commit(digest)
    found = shared_cache.checked(digest)
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.index
def test_groovy_compiles_jenkinsfiles(groovy: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.groovy" for number in range(len(CASES) + 1)]
    for file, pipeline in zip(files, CASES.values(), strict=False):
        file.write_text(render_pipeline(pipeline, "jenkins"))
    files[-1].write_text(render_pipeline(PLAIN, "jenkins").replace("stage('Lock') {", "stage('Lock' {"))
    (tmp_path / "compile.groovy").write_text(COMPILE)
    done = subprocess.run(
        ["java", "-cp", str(groovy), "groovy.ui.GroovyMain", str(tmp_path / "compile.groovy"), *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["good"] * len(CASES) + ["bad"], done.stderr


@cases()
@pytest.mark.parametrize("provider", PROVIDERS)
def test_scripts_are_valid_shell(provider: Provider, pipeline: Pipeline) -> None:
    text = render_pipeline(pipeline, provider)
    for step in (step for job in ("check", "push", "release") for step in steps(provider, text, job)):
        assert step.script.lstrip().startswith("set -eu\n")
        subprocess.run(["sh", "-n"], input=step.script, text=True, check=True)


# what has to be in them


def test_every_pipeline_checks_before_it_pushes() -> None:
    for provider in PROVIDERS:
        text = render_pipeline(PLAIN, provider)
        ran = re.findall(
            r"lockship (lock --check|plan|build|verify|push|release|\"\$verb\") -C \"\$LOCKSHIP_PROJECT\"", text
        )
        last = ["push", "release"] if provider == "jenkins" else ['"$verb"']
        assert ran == ["lock --check", "plan", "build", "verify", *last]
        assert '"${LOCKSHIP_PACKAGE:-lockship==1.2.3}"' in text


@pytest.mark.parametrize(
    ("url", "drivers", "variables"),
    [
        ("env:DB", ("psycopg[binary]",), ("DB",)),
        ("file:secret/url", ("psycopg[binary]",), ()),
        ("mysql+pymysql://ada@db/x", ("pymysql",), ()),
        ("sqlite:///x.db", (), ()),
    ],
)
def test_what_a_project_needs_is_installed(
    url: str, drivers: tuple[str, ...], variables: tuple[str, ...], checkout: Path, context: Context
) -> None:
    more = f'[python]\nconda = "environment.yml"\n[data]\ntraining = "x.csv"\n[database]\nurl = "{url}"\n'
    pipeline, _ = pipeline_for(project_in(checkout, more=more), context, "1.0")
    assert pipeline.extras == ("conda", "data", "database")
    assert (pipeline.drivers, pipeline.variables) == (drivers, variables)
    for provider in PROVIDERS:
        text = render_pipeline(pipeline, provider)
        asked = "".join(f" '{driver}'" for driver in drivers)
        assert f'"${{LOCKSHIP_PACKAGE:-lockship[conda,data,database]==1.0}}"{asked}\n' in text
        if provider != "gitlab":  # whose variables reach every job
            assert (re.search(r"\bDB\b", text) is not None) is bool(variables)


def test_history_is_fetched_where_the_version_comes_from_it() -> None:
    for provider, shallow, full in (
        ("github", "actions/checkout@", "fetch-depth: 0"),
        ("gitlab", 'GIT_DEPTH: "1"', 'GIT_DEPTH: "0"'),
        ("jenkins", "checkout scm\n", "noTags: false"),
        ("azure", "fetchDepth: 1", "fetchTags: true"),
    ):
        plain, git = (render_pipeline(replace(PLAIN, from_git=one), provider) for one in (False, True))
        assert shallow in plain
        assert full not in plain
        assert full in git


def test_the_same_tags_are_pushed_everywhere() -> None:
    """Those that start with v, as docs/ci.md says: Azure's filters know no more."""
    found = {provider: render_pipeline(PLAIN, provider) for provider in PROVIDERS}
    assert read_yaml(found["github"])["on"]["push"]["tags"] == ["v*"]
    assert "startsWith(github.ref, 'refs/tags/v')" in found["github"]
    assert read_yaml(found["azure"])["trigger"]["tags"] == {"include": ["v*"]}
    assert "startsWith(variables['Build.SourceBranch'], 'refs/tags/v')" in found["azure"]
    rules = read_yaml(found["gitlab"])["churn:push"]["rules"]
    assert [rule["if"] for rule in rules if "TAG" in rule["if"]] == ["$CI_COMMIT_TAG =~ /^v/"]
    assert "tag pattern: 'v.*', comparator: 'REGEXP'" in found["jenkins"]


def test_actions_are_pinned_and_jobs_get_what_they_need() -> None:
    text = render_pipeline(CASES["the provider's registry"], "github")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [one for one in used if not re.fullmatch(r"actions/[a-z/]+@[0-9a-f]{40}", one)] == []
    document = read_yaml(text)
    assert document["permissions"] == {}
    assert document["jobs"]["check"]["permissions"] == {"contents": "read"}
    assert document["jobs"]["push"]["permissions"] == {"contents": "read", "packages": "write"}
    elsewhere = read_yaml(render_pipeline(PLAIN, "github"))
    assert elsewhere["jobs"]["push"]["permissions"] == {"contents": "read"}
    assert "secrets." not in json.dumps(elsewhere["jobs"]["check"])


def test_credentials_reach_the_push_alone() -> None:
    for provider in PROVIDERS:
        assert "SIGNING" not in render_pipeline(PLAIN, provider)
        before, _, push = render_pipeline(replace(PLAIN, signs=True), provider).partition("verify -C")
        assert "PASSWORD" not in before and "KEY" not in before
        assert "LOCKSHIP_SIGNING_KEY" in push or "LOCKSHIP_KEY_FILE" in push
        assert "LOCKSHIP_REGISTRY_PASSWORD" in push
        assert "registry.example.com" in push


LOGIN = {"LOCKSHIP_REGISTRY_USERNAME": USER, "LOCKSHIP_REGISTRY_PASSWORD": PASSWORD}


@pytest.mark.parametrize("missing", LOGIN)
@pytest.mark.parametrize("provider", [one for one in PROVIDERS if one != "jenkins"])  # which looks for it by itself
def test_a_login_that_nobody_set_is_named_before_anything_is_pushed(
    provider: Provider, missing: str, tmp_path: Path
) -> None:
    last = steps(provider, render_pipeline(PLAIN, provider), "push")[-1]
    alone = replace(
        last, script=last.script[last.script.find("export LOCKSHIP_REGISTRY=") if provider == "gitlab" else 0 :]
    )
    secrets = {name: value for name, value in LOGIN.items() if name != missing}
    (ran,) = Runner(provider, tmp_path, {"PATH": os.environ["PATH"]}, secrets, FACTS[provider][0]).run([alone])
    assert ran.code != 0
    assert f"{missing}: is not " in ran.err or f"{missing} is not " in ran.err
    assert PASSWORD not in ran.out + ran.err


def test_the_page_shows_what_is_written() -> None:
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"(?s)```yaml\n(.*?)```", page)
    ours = replace(CASES["the provider's registry"], folder="models/churn", from_git=True, lockship="0.1.0")
    assert shown == render_pipeline(ours, "github")


# any folder's name is a value, never syntax

names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$\\/"), min_size=1, max_size=30)


@pytest.mark.slow
@settings(max_examples=40)
@given(names.filter(lambda name: name.isprintable() and name.strip(".")))
def test_any_folder_is_a_value(folder: str) -> None:
    for provider in PROVIDERS:
        plain, odd = (render_pipeline(replace(PLAIN, folder=one), provider) for one in ("PLACE", folder))
        expected = [(one.script, dict(one.environ)) for one in steps(provider, plain, "check")]
        found = [(one.script, dict(one.environ)) for one in steps(provider, odd, "check")]
        assert [environ.pop("LOCKSHIP_PROJECT") for _, environ in found] == [f"./{folder}"] * len(found)
        assert [environ.pop("LOCKSHIP_PROJECT") for _, environ in expected] == ["./PLACE"] * len(found)
        assert found == expected
        if provider != "jenkins":
            shape = json.dumps(read_yaml(plain)).replace("PLACE", json.dumps(folder)[1:-1])
            assert json.loads(shape) == read_yaml(odd)


# exporting


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Cache(tmp_path / "cache"), {"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tmp_path)})


def project_in(
    folder: Path, store: str = 'repository = "ghcr.io/acme/churn"', base: str = "debian:bookworm", more: str = ""
) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "lockship.toml"
    file.write_text(f'name = "churn"\nversion = "1.0"\n[image]\nbase = "{base}"\n[store]\n{store}\n{more}')
    return load_project(file)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


@pytest.mark.parametrize(
    ("provider", "place"),
    [
        ("github", ".github/workflows/churn.yml"),
        ("gitlab", ".gitlab-ci.yml"),
        ("jenkins", "Jenkinsfile"),
        ("azure", "azure-pipelines.yml"),
    ],
)
def test_a_file_goes_to_its_usual_place_and_stays(
    provider: Provider, place: str, checkout: Path, context: Context
) -> None:
    project = project_in(checkout / "a b" / "churn")
    done = export_ci(project, context, provider, None, lockship="1.0")
    assert done.file == checkout / place
    assert done.file.read_text() == done.text
    assert "./a b/churn" in done.text
    assert not export_ci(project, context, provider, None, lockship="1.0").changed
    done.file.write_text("mine\n")
    with pytest.raises(RefusedError, match="is there already") as caught:
        export_ci(project, context, provider, None, lockship="1.0")
    assert "--output" in str(caught.value.hint)
    assert "--force" in str(caught.value.hint)
    assert done.file.read_text() == "mine\n"
    assert export_ci(project, context, provider, None, lockship="1.0", force=True).changed
    assert done.file.read_text() == done.text


def test_the_branch_and_the_image_fit_the_project(checkout: Path, context: Context, tmp_path: Path) -> None:
    subprocess.run(["git", "-C", str(checkout), "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run(["git", "-C", str(checkout), "branch", "-q", "-M", "trunk"], check=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(checkout), str(clone)], check=True)
    pipeline, top = pipeline_for(project_in(clone, base="debian:trixie"), context, "1.0")
    assert (pipeline.branch, pipeline.folder, top) == ("trunk", ".", clone)
    assert pipeline.image.endswith("-trixie")
    assert pipeline_for(project_in(checkout), context, "1.0")[0].branch == "main"


@pytest.mark.parametrize(
    "name", ["$HOME", "a$(id)", "${{ secrets.X }}", "back\\slash", "two\nlines", "\x1b[1m", "a\u2028b"]
)
def test_a_folder_that_providers_would_misread_is_refused(name: str, checkout: Path, context: Context) -> None:
    with pytest.raises(ProjectError, match="can't be named in a pipeline") as caught:
        export_ci(project_in(checkout / name), context, "gitlab", None, lockship="1.0")
    assert "rename" in str(caught.value.hint)
    assert str(caught.value).isprintable()


def test_what_a_pipeline_needs(checkout: Path, context: Context, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="doesn't say where") as caught:
        export_ci(project_in(checkout, store=""), context, "azure", None, lockship="1.0")
    assert "[store] repository" in str(caught.value.hint)
    with pytest.raises(ProjectError, match="git repository") as caught:
        export_ci(project_in(tmp_path / "elsewhere"), context, "azure", None, lockship="1.0")
    assert "git init" in str(caught.value.hint)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write") as unwritable:
        export_ci(project_in(checkout), context, "azure", tmp_path / "file" / "x.yml", lockship="1.0")
    assert "--output" in str(unwritable.value.hint)
    with pytest.raises(UsageError, match="is a folder"):
        export_ci(project_in(checkout), context, "azure", tmp_path, lockship="1.0")


def test_on_the_command_line(checkout: Path) -> None:
    def run(*words: str) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "builder", "export", "ci", *words],
            cwd=checkout,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(checkout)},
            capture_output=True,
            text=True,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    project_in(checkout)
    shown = run("gitlab", "-o", "-")
    assert shown.code == 0, shown
    assert '"churn:check":' in shown.out
    assert not (checkout / ".gitlab-ci.yml").exists()
    written = run("gitlab", "--json")
    assert written.json["schema"] == "dev.lockship.export-ci/v1"
    assert (written.json["file"], written.json["changed"]) == (str(checkout / ".gitlab-ci.yml"), True)
    assert written.json["text"] == shown.out == (checkout / ".gitlab-ci.yml").read_text()
    again = run("gitlab")
    assert (again.code, again.out) == (0, ".gitlab-ci.yml\n")
    assert "nothing to do" in again.err
    (checkout / ".gitlab-ci.yml").write_text("mine")
    refused = run("gitlab", "--json")
    assert (refused.code, refused.json["error"]["kind"]) == (7, "RefusedError")
    assert run("gitlab", "--force").code == 0
    unknown = run("travis")
    assert unknown.code == 2
    assert "github, gitlab, jenkins, azure" in unknown.err


def test_jobs_run_on_a_python_that_lockship_takes() -> None:
    from packaging.specifiers import SpecifierSet

    from builder.pipeline.ci import _PYTHON

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert SpecifierSet(wanted).contains(f"{_PYTHON}.0")


# running


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with serve_registry(tmp_path_factory.mktemp("registry"), "basic") as server:
        yield server


MAIN = """
import os, sys

def main():
    os.environ["PYTHONPATH"] = {root!r}
    os.execv({python!r}, [{python!r}, "-m", "builder", *sys.argv[1:]])
"""


def stand_in(folder: Path) -> Path:
    """A wheel called lockship whose command is this source tree's."""
    main = MAIN.format(root=str(ROOT), python=sys.executable).encode()
    entry = "[console_scripts]\nlockship = lockship_here:main\n"
    return make_wheel(folder, "lockship", "1.0", {"lockship_here.py": main}, entry_points=entry)


class Repository:
    """A git repository with a locked project in a folder of it, and its clones."""

    def __init__(self, here: World, registry: RegistryServer, name: str, *, from_git: bool) -> None:
        self.world, self.top = here, here.folder / "repository"
        keys = here.root / "keys.gpg"
        here.root = self.top / "the team's models" / "churn"
        here.root.mkdir(parents=True)
        shutil.copy(keys, here.root)
        here.wheel("alpha")
        here.write("code/__init__.py", "")
        rest = f'[store]\nrepository = "{registry.host}/{name}"'
        made = here.run(
            "keys", "create", "--output", str(here.folder), environ={"LOCKSHIP_SIGNING_PASSWORD": KEY_PASSWORD}
        )
        assert made.code == 0, made
        shutil.copy(here.folder / "cosign.pub", here.root)
        here.project("alpha\n", image='files = ["code/"]', rest=f'{rest}\n[signing]\nkey = "cosign.pub"')
        if from_git:
            file = here.root / "lockship.toml"
            file.write_text(file.read_text().replace('version = "1.0"', "version = { git = true }"))
        done = here.run("lock")
        assert done.code == 0, done
        self.git("init", "-q")

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", str(self.top), *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "a change")

    def clone(self, name: str, *options: str) -> Path:
        folder = self.world.folder / name
        subprocess.run(["git", "clone", "-q", *options, f"file://{self.top}", str(folder)], check=True)
        return folder

    def digest(self) -> str:
        done = self.world.run("plan", "--json")
        assert done.code == 0, done
        return str(done.json["digest"])


# as people put them where each provider keeps such things
KEY_PASSWORD = "correct horse battery staple"
COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT", "BUILD_SOURCEVERSION")


def secrets_of(here: World) -> dict[str, str]:
    key = here.folder / "cosign.key"
    return {
        "LOCKSHIP_REGISTRY_USERNAME": USER,
        "LOCKSHIP_REGISTRY_PASSWORD": PASSWORD,
        "LOCKSHIP_SIGNING_KEY": key.read_text(),
        "LOCKSHIP_SIGNING_PASSWORD": KEY_PASSWORD,
        "LOCKSHIP_KEY_FILE": str(key),
        "key.secureFilePath": str(key),
    }


# what each provider says of a branch and of a tag
FACTS = {
    "github": ({"GITHUB_REF_TYPE": "branch"}, {"GITHUB_REF_TYPE": "tag"}),
    "gitlab": ({"CI_COMMIT_BRANCH": "main"}, {"CI_COMMIT_TAG": "v1.0"}),
    "jenkins": ({"BRANCH_IS_PRIMARY": "true"}, {"TAG_NAME": "v1.0"}),
    "azure": ({"BUILD_SOURCEBRANCH": "refs/heads/main"}, {"BUILD_SOURCEBRANCH": "refs/tags/v1.0"}),
}


@pytest.mark.slow
@pytest.mark.apt
@pytest.mark.parametrize(
    ("provider", "from_git"), [("github", False), ("azure", False), ("gitlab", True), ("jenkins", True)]
)
def test_a_pipeline_runs(provider: Provider, from_git: bool, here: World, registry: RegistryServer) -> None:
    name = f"ci/{provider}-{'git' if from_git else 'static'}"
    repository = Repository(here, registry, name, from_git=from_git)
    done = here.run("export", "ci", provider)
    assert done.code == 0, done
    text = Path(here.root, done.out.strip()).resolve().read_text()
    assert str(here.folder) not in text
    repository.commit()
    repository.git("tag", "v1.0")
    digest = repository.digest()

    settings = {
        "LOCKSHIP_PACKAGE": str(stand_in(here.folder / "wheels")),
        "PIP_INDEX_URL": here.index.simple,
        **secrets_of(here),
    }
    branch, tag = FACTS[provider]
    bare = {key: value for key, value in here.environ.items() if key not in ("LOCKSHIP_CACHE", "PYTHONPATH")}

    # the first job, in a fresh clone
    checked = repository.clone("check", *([] if from_git else ["--depth", "1"]))
    checks = steps(provider, text, "check")
    ran = Runner(provider, checked, bare, settings, branch).run(checks)
    assert [one.code for one in ran] == [0] * len(checks), ran
    assert digest in "".join(one.out for one in ran)
    assert list((checked / ".lockship/cache/blobs/sha256").iterdir())

    # the second one, on another machine
    clone = repository.clone("push", *([] if from_git else ["--depth", "1"]))
    pushes = steps(provider, text, "push")
    pushing = Runner(provider, clone, bare, settings, branch)
    ran = pushing.run(pushes)
    assert [one.code for one in ran] == [0] * len(pushes), ran
    assert digest in ran[-1].out
    assert PASSWORD not in "".join(one.out + one.err for one in ran)
    assert tag_of(registry, name, "1.0") == digest
    if provider == "github":
        assert pushing.output("digest") == digest

    # the tag, as jobs check it out: without any branch
    tagged = repository.clone("release", "--branch", "v1.0", *([] if from_git else ["--depth", "1"]))
    there = {**tag, **dict.fromkeys(COMMITS, repository.git("rev-parse", "HEAD"))}
    releases = steps(provider, text, "release")
    ran = Runner(provider, tagged, bare, settings, there).run(releases)
    assert [one.code for one in ran] == [0] * len(releases), ran
    assert digest in ran[-1].out
    assert "1.0: released to" in ran[-1].err and "signed with" in ran[-1].err
    said = "".join(one.out + one.err for one in ran)
    assert PASSWORD not in said and KEY_PASSWORD not in said and "PRIVATE" not in said
    assert tag_of(registry, name, "1.0.release")

    # a change: a new version if git counts them, else the same version with other content
    here.write("code/__init__.py", "changed = True\n")
    repository.commit()
    pull(clone)
    for todo, facts, code in ((pushes, branch, 0), (releases, tag, 0 if from_git else 7)):
        (last,) = Runner(provider, clone, ready(bare, clone), settings, facts).run(todo[-1:])
        assert last.code == code, last
        assert ("never changes" in last.err) is not from_git
        assert ("not pushed" in last.out) is (not from_git and facts == branch)
    assert tag_of(registry, name, "1.0") == digest

    # a stale lock stops it at once
    here.write("requirements.in", "alpha\nbeta\n")
    repository.commit()
    pull(checked)
    todo = checks if provider == "gitlab" else checks[1:]
    (stopped,) = Runner(provider, checked, ready(bare, checked), settings, branch).run(todo)
    assert stopped.code == 3, stopped
    assert "requirements.in changed" in stopped.err


def pull(clone: Path) -> None:
    subprocess.run(["git", "-C", str(clone), "fetch", "-q", "origin", "main"], check=True)
    subprocess.run(["git", "-C", str(clone), "reset", "-q", "--hard", "FETCH_HEAD"], check=True)


def ready(environ: dict[str, str], clone: Path) -> dict[str, str]:
    """As after the first step."""
    return {**environ, "PATH": f"{clone}/.lockship/venv/bin:{environ['PATH']}"}


def tag_of(registry: RegistryServer, name: str, version: str) -> str | None:
    link = registry.folder / f"storage/docker/registry/v2/repositories/{name}/_manifests/tags/{version}/current/link"
    return link.read_text() if link.exists() else None
