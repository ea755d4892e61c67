from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.cli.app import invoke
from builder.errors import LockshipError, ModelError, RefusedError, UsageError
from builder.models.consumers.java import SIGN, render_java
from builder.models.consumers.java_names import coordinates
from builder.models.consumers.java_text import cell, html, literal, passes, xml
from builder.models.consumers.java_versions import RELEASES, choose
from builder.models.contract import Contract, Feature, Golden, Input, Output, Runtime, Tolerance
from builder.pipeline.packaging import converted_at, write_package
from tests.support.java_source import code_of, literals_of
from tests.support.models import churn, wine

pytestmark = pytest.mark.slow

HOSTILE = '*/ "quotes" \\u0022 class */ \\u002a/ {@code x} <b> &amp; @author ${user.home} \\user \u202e\n\r'
SOURCE = "src/main/java/com/example/models/m"

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    [HOSTILE, "*/", "\\u000a", "\\", '"', "//", "\\\\u0022", "class", "\u2028", "\0"]
)


def contract(*, feature: str = "age", label: str = "yes", description: str = "A model.", **changes: object) -> Contract:
    """A classifier of one number and one text, as small as can be."""
    features = (Feature(name=feature, description=description, unit=description, categories=None),)
    known = (Feature(name="kind", missing="empty", categories=("a", description), unseen="refused"),)
    values: dict[str, object] = {
        "name": "m",
        "version": "1.0",
        "description": description,
        "digest": "sha256:" + "0" * 64,
        "size": 4,
        "runtime": Runtime(opset=17, ml_opset=3, ir=8, minimum="1.14", consumers=("java-1.17",)),
        "inputs": (
            Input(name=feature, type="float32", features=features),
            Input(name="kind" if feature != "kind" else "k", type="string", features=known),
        ),
        "outputs": (
            Output(name=label, type="string", meaning="label", classes=("no", label)),
            Output(name="p" + label, type="float32", meaning="probabilities", width=2, classes=("no", label)),
        ),
        "tolerance": Tolerance(absolute=1e-5, relative=1e-4),
        "golden": Golden(
            inputs={feature: ((1.5,),), ("kind" if feature != "kind" else "k"): (("a",),)},
            outputs={label: ((label,),), "p" + label: ((0.25, 0.75),)},
        ),
    }
    return Contract.model_validate({**values, **changes})


def rendered(one: Contract) -> dict[str, str]:
    """The text files."""
    files = render_java(one, b"onnx", coordinates(one)).files
    return {path: data.decode() for path, data in files.items() if not path.endswith(".onnx")}


@settings(max_examples=25)  # each renders eleven files
@given(text.filter(lambda one: one != "kind"), text.filter(lambda one: passes(one) and one != "no"), text)
def test_whatever_names_say_they_stay_in_strings_and_comments(feature: str, label: str, description: str) -> None:
    hostile = rendered(contract(feature=feature, label=label, description=description))
    plain = benign()
    assert hostile.keys() == plain.keys()
    names = [one["name"] for one in _names(hostile)]
    for path in (path for path in plain if path.endswith(".java")):
        code = code_of(hostile[path])
        for name, other in zip(names, [one["name"] for one in _names(plain)], strict=True):
            code = code.replace(f" {name}(", f" {other}(").replace(f".{name}(", f".{other}(")
        code = _labels_alike(code)
        assert code == _labels_alike(code_of(plain[path])), path
    ElementTree.fromstring(hostile["pom.xml"])


@cache
def benign() -> dict[str, str]:
    """The files of names that nobody objects to."""
    return rendered(contract())


def _names(files: dict[str, str]) -> list[dict[str, str]]:
    """The properties of the input class: a getter each."""
    source = code_of(files[f"{SOURCE}/MInput.java"])
    return [{"name": name} for name in re.findall(r"public (?:float|String) (\w+)\(\)", source)]


def _labels_alike(code: str) -> str:
    return re.sub(r"\bLABEL_\w+", "LABEL", code)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_one_literal(value: str) -> None:
    source = f"a({literal(value)}) // b"
    assert code_of(source) == 'a("") '
    assert literals_of(source) == [value]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_stays_in_a_comment_an_element_and_a_cell(value: str) -> None:
    assert code_of(f"/** {html(value)} */ a") == " a"
    assert "@" not in html(value)
    shown = ElementTree.fromstring(f"<a>{xml(value)}</a>").text or ""
    assert "${" not in shown
    assert not set(cell(value)) & {"\t", "\n", "\r"}


def test_names_that_collide_are_told() -> None:
    features = tuple(Feature(name=name) for name in ("a b", "a_b", "class"))
    one = contract(
        inputs=(Input(name="x", type="float32", features=features),),
        golden=Golden(inputs={"x": ((1.0, 2.0, 3.0),)}, outputs={"yes": (("yes",),), "pyes": ((0.2, 0.8),)}),
    )
    done = render_java(one, b"onnx", coordinates(one))
    source = done.files[f"{SOURCE}/MInput.java"].decode()
    assert "public float class_()" in source
    [notice] = done.notices
    assert "'a b', 'a_b'" in notice


def test_the_same_model_gives_the_same_files() -> None:
    made = [render_java(churn().contract, churn().model, coordinates(churn().contract)) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].files["src/main/resources/com/example/models/churn/churn.onnx"] == churn().model
    assert made[0].main == "com.example.models.churn.ChurnModel"


def test_text_that_java_garbles_is_refused_or_told() -> None:
    assert not passes("a\0") and not passes("🙂") and passes("é年")
    with pytest.raises(ModelError, match="the class 'yes🙂' has characters"):
        rendered(contract(label="yes🙂"))
    one = contract(description="known 🙂")
    [notice] = render_java(one, b"onnx", coordinates(one)).notices
    assert "kind: 'known 🙂'" in notice
    golden = Golden(
        inputs={"age": ((1.0,), (2.0,)), "kind": (("a",), ("known 🙂",))},
        outputs={"yes": (("yes",), ("no",)), "pyes": ((0.2, 0.8), (0.9, 0.1))},
    )
    two = contract(description="known 🙂", golden=golden)
    done = render_java(two, b"onnx", coordinates(two))
    assert done.files["src/main/resources/com/example/models/m/m.golden.tsv"] == b"1.0\ta\tyes\t0.2\t0.8\n"
    assert any("1 of 2 golden rows" in notice for notice in done.notices)


def test_a_contract_without_golden_rows_is_refused() -> None:
    empty = Golden(inputs={"age": (), "kind": ()}, outputs={"yes": (), "pyes": ()})
    with pytest.raises(ModelError, match="no golden rows"):
        rendered(contract(golden=empty))


def test_a_missing_value_that_a_tensor_has_no_way_to_say_is_refused() -> None:
    inputs = (Input(name="n", type="int64", features=(Feature(name="count", missing="nan"),)),)
    golden = Golden(inputs={"n": ((1,),)}, outputs={"yes": (("yes",),), "pyes": ((0.2, 0.8),)})
    with pytest.raises(ModelError, match="'count' may be missing, and a tensor of type int64"):
        rendered(contract(inputs=inputs, golden=golden))


def test_more_features_than_a_class_holds_are_refused() -> None:
    features = tuple(Feature(name=f"f{number}") for number in range(5001))
    golden = Golden(inputs={"x": ((0.0,) * 5001,)}, outputs={"yes": (("yes",),), "pyes": ((0.2, 0.8),)})
    with pytest.raises(ModelError, match="5,001 features"):
        rendered(contract(inputs=(Input(name="x", type="float32", features=features),), golden=golden))


def _runs_on(*consumers: str, minimum: str = "1.14") -> Contract:
    return contract(runtime=Runtime(opset=17, ml_opset=3, ir=8, minimum=minimum, consumers=consumers))


@pytest.mark.parametrize(
    ("consumers", "minimum", "release"),
    [
        (("java-1.17",), "1.14", "1.17.3"),
        (("java-1.17.1",), "1.14", "1.17.1"),
        (("java-1.20", "java-1.17", "dotnet-1.8"), "1.14", "1.17.3"),
        ((), "1.14", "1.15.1"),  # there was never a 1.14
        (("dotnet-1.20",), "1.17", "1.17.3"),
        (("java-1.25",), "1.25", "1.26.0"),
        (("ort-1.8",), "1.8", "1.8.1"),
    ],
)
def test_the_release_that_fits_is_chosen(consumers: tuple[str, ...], minimum: str, release: str) -> None:
    assert choose(_runs_on(*consumers, minimum=minimum)) == release


def test_releases_that_are_none_or_too_old_are_refused() -> None:
    assert choose(_runs_on(), "1.30.0") == "1.30.0"  # of one's own repository
    for asked in ("1.17", "latest", "1.13.1", "1.8.1"):
        with pytest.raises(UsageError):
            choose(_runs_on(), asked)
    for wrong in (_runs_on("java-1.17.9"), _runs_on("java-1.32"), _runs_on(minimum="newer than 1.32")):
        with pytest.raises(ModelError, match="Maven Central"):
            choose(wrong)
    assert list(RELEASES) == sorted(RELEASES, key=lambda one: [int(part) for part in one.split(".")])


def test_coordinates_have_defaults_and_are_checked() -> None:
    one = contract(name="Churn-Model v2", version="1.4.0")
    assert str(coordinates(one)) == "com.example.models:churn-model-v2-model:1.4.0"
    assert coordinates(one).package == "com.example.models.churn_model_v2"
    assert coordinates(one, group="org.acme-ml").package == "org.acme_ml.churn_model_v2"
    assert coordinates(contract(name="年龄")).artifact == "model"
    for wrong in (
        {"group": "a b"},
        {"artifact": "../x"},
        {"version": "${x}"},
        {"package": "a.1b"},
        {"package": "a.if"},
    ):
        with pytest.raises(UsageError):
            coordinates(one, **wrong)
    with pytest.raises(UsageError, match="not a Maven version"):
        coordinates(contract(version="1.0 (old)"))


def test_a_folder_is_replaced_only_if_an_export_wrote_it(tmp_path: Path) -> None:
    folder = tmp_path / "java"
    files = render_java(contract(), b"onnx", coordinates(contract())).files
    write_package(folder, files, SIGN)
    (folder / "target").mkdir()
    write_package(folder, files, SIGN)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(files)
    assert [path.name for path in tmp_path.iterdir()] == ["java"]
    (folder / "pom.xml").write_text("<project/>")
    with pytest.raises(RefusedError, match="holds something else"):
        write_package(folder, files, SIGN)
    assert (folder / "pom.xml").read_text() == "<project/>"
    with pytest.raises(LockshipError, match="outside"):
        write_package(tmp_path / "other", {"../x": b""}, SIGN)


def test_a_model_and_its_contract_belong_together(tmp_path: Path) -> None:
    file = wine().write(tmp_path)
    assert converted_at(file).model == wine().model
    (tmp_path / "wine.onnx").write_bytes(wine().model + b"x")
    with pytest.raises(ModelError, match=r"is not the model of wine\.contract\.json"):
        converted_at(file)
    (tmp_path / "wine.onnx").unlink()
    with pytest.raises(ModelError, match="cannot read"):
        converted_at(file)
    large = wine().contract.model_copy(update={"size": 2**31})
    file.write_bytes(large.to_json())
    with pytest.raises(ModelError, match="2,147,483,648 bytes"):
        converted_at(file)
    with pytest.raises(UsageError):
        converted_at(tmp_path / "wine.json")


def test_without_a_jdk_there_is_a_project_and_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(wine().write(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert invoke(["export", "java", "--contract", file, "--build"]) == 2
    assert "a jar can't be built here: there is no JDK on PATH" in capsys.readouterr().err
    assert not (tmp_path / "java").exists()
    assert invoke(["export", "java", "--contract", file]) == 0
    out, err = capsys.readouterr()
    assert out == "java\n"
    assert "no jar: there is no JDK on PATH" in err
    assert (tmp_path / "java/pom.xml").is_file()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert invoke(["export", "java", "--contract", file, "--json", "--no-build", "--group", "org.acme"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "dev.lockship.export-java/v1"
    assert (document["jar"], document["class"]) == (None, "org.acme.wine.WineModel")


def test_an_old_jdk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.pipeline.maven import find_maven

    (tmp_path / "bin").mkdir()
    javac = tmp_path / "bin/javac"
    javac.write_text("#!/bin/sh\necho javac 1.8.0_292 >&2\n")
    javac.chmod(0o755)
    assert "is of JDK 8, and 11 is needed" in find_maven({"JAVA_HOME": str(tmp_path), "PATH": "/bin"}).obstacle
    javac.write_text("#!/bin/sh\necho javac 21.0.1\n")
    assert find_maven({"JAVA_HOME": str(tmp_path), "PATH": ""}).obstacle == "there is no Maven (mvn) on PATH"
