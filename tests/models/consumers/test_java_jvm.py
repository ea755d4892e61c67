"""The exported packages where they are to run: a JVM with the onnxruntime of Maven Central."""

from __future__ import annotations

import functools
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from builder.cache import Cache
from builder.errors import ModelError, StoreError
from builder.models.consumers.java import render_java
from builder.models.consumers.java_names import coordinates
from builder.models.consumers.java_view import accessors
from builder.pipeline.exporting_java import Exported
from builder.pipeline.maven import find_maven, package
from builder.progress import SILENT
from tests.conftest import DEVELOPER
from tests.support.java_kinds import everything
from tests.support.java_workshop import Workshop, named_properties, workshop_in, write_rows
from tests.support.models import MODELS, Trained
from tests.support.require import need

pytestmark = pytest.mark.slow

ROWS = 10_000
HARNESS = Path(__file__).parents[2] / "support/java"


@pytest.fixture(scope="module")
def workshop(shared_cache: Cache) -> Workshop:
    """The JDK and Maven of this machine."""
    found = find_maven(DEVELOPER)
    need("a JDK and Maven", not found.obstacle, found.obstacle)
    return workshop_in(shared_cache, DEVELOPER)


@dataclass(frozen=True)
class Built:
    """A model and its package."""

    model: Trained
    exported: Exported


Factory = Callable[[str], Built]


@pytest.fixture(scope="module")
def built(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Factory:
    """A model's package by the model's name; each is built once."""

    @functools.cache
    def build(name: str) -> Built:
        model = MODELS[name]()
        return Built(model, workshop.build(model.write(tmp_path_factory.mktemp(name))))

    return build


def score(workshop: Workshop, one: Built, folder: Path, count: int) -> tuple[str, list[list[str]]]:
    """Rows of the model's own, scored by the package together and one by one in eight threads."""
    contract = one.model.contract
    drawn = one.model.draw(count, 11)
    write_rows(folder / "rows.tsv", contract, drawn)
    run = workshop.run(
        "java", "-Dfile.encoding=UTF-8", "-cp", workshop.classpath(one.exported, workshop.harness()), "Scores",
        one.exported.project.main, one.exported.project.main.removesuffix("Model") + "Input",
        str(folder / "rows.tsv"), str(folder / "results.tsv"), "8",
        *(output.field for output in accessors(contract)), "--",
        *named_properties(contract),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    results = (folder / "results.tsv").read_text(encoding="utf-8").splitlines()
    return run.stdout, [line.split("\t") for line in results]


@pytest.mark.parametrize("name", MODELS)
def test_ten_thousand_rows_score_as_in_python(workshop: Workshop, built: Factory, name: str, tmp_path: Path) -> None:
    one = built(name)
    said, results = score(workshop, one, tmp_path, ROWS)
    assert said == f"golden={one.model.contract.rows} rows={ROWS} different=0\n"
    expected = one.model.scores(one.model.draw(ROWS, 11))
    at = 0
    for output in one.model.contract.outputs:
        width = output.width or 1
        cells = [row[at : at + width] for row in results]
        at += width
        if output.type in ("string", "int64"):
            assert [each[0] for each in cells] == [str(value) for value in expected[output.name].tolist()]
        else:
            got = np.array(cells, dtype=np.float32)
            np.testing.assert_allclose(got, expected[output.name].reshape(ROWS, width), rtol=1e-6, atol=1e-6)


def test_the_package_carries_the_model_as_it_is(built: Factory) -> None:
    one = built("churn")
    assert one.exported.jar is not None
    with zipfile.ZipFile(one.exported.jar) as jar:
        assert jar.read("com/example/models/churn/churn.onnx") == one.model.model
        assert jar.read("com/example/models/churn/churn.contract.json") == one.model.contract.to_json()
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    assert "Automatic-Module-Name: com.example.models.churn" in manifest
    reports = list((one.exported.folder / "target/surefire-reports").glob("*.txt"))
    assert "Tests run: 8, Failures: 0, Errors: 0, Skipped: 0" in reports[0].read_text()


def test_two_builds_give_the_same_bytes_and_can_be_deployed(workshop: Workshop, built: Factory, tmp_path: Path) -> None:
    """The second one in another folder, with Javadoc that its linter finds nothing in, into a Maven repository."""
    one = built("churn")
    folder = tmp_path / "elsewhere"
    shutil.copytree(one.exported.folder, folder, ignore=shutil.ignore_patterns("target"))
    target = tmp_path / "repository"
    run = workshop.run(
        "mvn", "-B", "deploy", f"-Ddeploy.url=file://{target}", "-Dmaven.compiler.failOnWarning=true",
        "-Dmaven.javadoc.failOnWarnings=true", folder=folder,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "WARNING" not in run.stdout
    for jar in ("churn-model-1.4.0.jar", "churn-model-1.4.0-sources.jar"):
        assert (folder / "target" / jar).read_bytes() == (one.exported.folder / "target" / jar).read_bytes()
    deployed = {
        path.name
        for path in (target / "com/example/models/churn-model/1.4.0").glob("*.*")
        if path.suffix in (".jar", ".pom")
    }
    assert deployed == {f"churn-model-1.4.0{end}" for end in (".jar", "-sources.jar", "-javadoc.jar", ".pom")}


def test_bad_input_is_refused_by_the_name_of_its_feature(workshop: Workshop, built: Factory) -> None:
    one = built("churn")
    run = workshop.run(
        "java", "-Dfile.encoding=UTF-8", "-cp", workshop.classpath(one.exported), str(HARNESS / "BadInput.java")
    )
    assert run.returncode == 0, run.stderr
    charges = 'Monthly Charges: feature "Monthly Charges": '
    assert run.stdout.splitlines() == [
        "a gap where one may be: taken",
        "null for a number: taken",
        f"NaN: {charges}is missing (NaN), and the model was not made for that",
        'infinite: tenure: feature "tenure": Infinity is not a finite number of 32 bits',
        f"too large for a float: {charges}1.0E39 is not a finite number of 32 bits",
        'null text: payment: feature "payment": is missing (null), and the model was not made for that',
        "unseen, ignored: taken",
        "unseen, ignored, beyond the basic plane: taken",
        'unseen, refused: payment: feature "payment": "Überweisung " is none of the values that the model knows',
        "known, not ASCII: taken",
        f"not set: {charges}is not set, and the model needs it",
        "unset is missing: true",
        "no rows: []",
        "no class of the model: Leaves",
    ]


def test_a_damaged_package_says_so(workshop: Workshop, built: Factory, tmp_path: Path) -> None:
    """A model that a build filtered as text, and golden rows that the model doesn't agree with."""
    one = built("wine")
    (tmp_path / "rows.tsv").write_text("")
    command = [
        "Scores", one.exported.project.main, "com.example.models.wine.WineInput",
        str(tmp_path / "rows.tsv"), str(tmp_path / "results.tsv"), "1", "--",
    ]  # fmt: skip
    resources = one.exported.folder / "src/main/resources/com/example/models/wine"
    for file, old, new, complaint in (
        ("wine.onnx", b"", b"\n", "wine.onnx was changed since it was packaged"),
        ("wine.golden.tsv", b"\t1\t", b"\t2\t", "self-test of wine 2.0.0: golden row"),
    ):
        changed = tmp_path / file / "com/example/models/wine"
        changed.mkdir(parents=True)
        data = (resources / file).read_bytes()
        (changed / file).write_bytes(data + new if not old else data.replace(old, new))
        run = workshop.run(
            "java", "-cp", workshop.classpath(one.exported, tmp_path / file, workshop.harness()), *command
        )
        assert run.returncode != 0
        assert complaint in run.stderr


def test_a_build_that_fails_says_why(workshop: Workshop, built: Factory, tmp_path: Path) -> None:
    """Golden rows that the model doesn't agree with, which are exit code 4; a Maven without a network, which is 5."""
    maven = find_maven(workshop.environ)
    folder = tmp_path / "java"
    shutil.copytree(built("wine").exported.folder, folder)
    golden = folder / "src/main/resources/com/example/models/wine/wine.golden.tsv"
    golden.write_bytes(golden.read_bytes().replace(b"\t1\t", b"\t2\t"))
    with pytest.raises(ModelError, match=r"(?s)tests fail on this machine:.*self-test of wine 2\.0\.0: golden row"):
        package(maven, folder, workshop.environ, SILENT)
    alone = f"-Dmaven.repo.local={tmp_path / 'empty'} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9"
    with pytest.raises(StoreError, match=r"(?s)Maven failed:.*could not be resolved"):
        package(maven, folder, {**workshop.environ, "MAVEN_OPTS": alone}, SILENT)


def test_an_onnxruntime_that_is_too_old_is_told_what_is_needed(workshop: Workshop, built: Factory) -> None:
    one = built("churn")
    classpath = workshop.classpath(one.exported, workshop.runtime("1.8.1"))  # the first of two counts
    run = workshop.run("java", "-cp", classpath, str(HARNESS / "BadInput.java"))
    assert run.returncode != 0
    assert "ChurnModelException: onnxruntime can't load the model, which needs 1.14 or newer" in run.stderr


@pytest.mark.parametrize("release", ["1.8.1", "1.29.0"])
def test_hostile_names_compile_without_a_warning(workshop: Workshop, release: str, tmp_path: Path) -> None:
    """Every kind of input and output, against the oldest binding and the newest; and Javadoc finds nothing to say."""
    contract = everything()
    one = render_java(contract, b"onnx", coordinates(contract, artifact="all", package="org.acme.all"), release)
    sources = []
    for path, data in one.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
        sources += [path] if path.startswith("src/main") and path.endswith(".java") else []
    common = ["-encoding", "UTF-8", "-cp", str(workshop.runtime(release)), *sources]
    compiled = workshop.run(
        "javac", "--release", "11", "-Xlint:all", "-Werror", "-d", "classes", *common, folder=tmp_path
    )
    assert (compiled.returncode, compiled.stderr) == (0, "")
    if release == "1.29.0":
        said = workshop.run("javadoc", "-quiet", "-Xdoclint:all", "-Werror", "-d", "docs", *common, folder=tmp_path)
        assert (said.returncode, said.stderr) == (0, "")
