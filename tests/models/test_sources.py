"""What a conversion depends on, and that moves are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ModelError, ProjectError
from builder.models.sources import consumers_of, converted_models, made_from, model_digest, moved
from builder.models.spec import refuse_hopeless, spec_of
from builder.project import Project, load_project

HEAD = 'name = "churn"\nversion = "1.0"\n[python]\nrequirements = ["requirements.in"]\n'


def project(folder: Path, model: str) -> Project:
    (folder / "lockship.toml").write_text(HEAD + model)
    for name in ("model.skops", "model.pkl", "model.onnx", "sample.csv", "requirements.lock"):
        if not (folder / name).exists():
            (folder / name).write_text(name)
    return load_project(folder / "lockship.toml")


@pytest.mark.parametrize(
    ("model", "converted"),
    [
        ('source = "model.onnx"', False),
        ('source = "model.onnx"\ntarget = "/m.onnx"', False),
        ('source = "model.bin"', False),
        ('source = "model"', False),
        ('source = "a.onnx/model"', False),
        ('source = "model.onnx"\nsample = "sample.csv"', True),
        ('source = "model.onnx"\nconsumers = ["ort-1.14"]', True),
        ('source = "model.skops"', True),
        ('source = "MODEL.PKL"', True),
        ('source = "model.bin"\nformat = "skops"', True),
        ('entry = "train:fit"', True),
    ],
)
def test_what_is_converted(tmp_path: Path, model: str, converted: bool) -> None:
    found = project(tmp_path, f"[models.m]\n{model}\n")
    assert bool(converted_models(found)) is converted


def test_results_lie_beside_the_source_or_where_one_wants_them(tmp_path: Path) -> None:
    text = '[model]\nsource = "out/model.skops"\n[models.b]\nentry = "train:fit"\n[models.c]\nsource = "x.cbm"\n'
    found = project(tmp_path, text + 'output = "onnx/"\ntarget = "/models/c.onnx"\n')
    files = {name: model.files(name) for name, model in found.named_models}
    assert files["churn"].onnx == "out/churn.onnx"
    assert files["b"].contract == "b.contract.json"
    assert (files["c"].parity, files["c"].report) == ("onnx/c.parity.json", "onnx/c.parity.html")
    targets = [model.destination(name) for name, model in found.named_models]
    assert targets == ["/app/churn.onnx", "/app/b.onnx", "/models/c.onnx"]


def test_nothing_is_converted_onto_something_else(tmp_path: Path) -> None:
    found = project(tmp_path, '[models.model]\nsource = "model.onnx"\nsample = "sample.csv"\n')
    with pytest.raises(ProjectError, match="which is the source itself") as caught:
        converted_models(found)
    assert "output" in str(caught.value.hint)
    found = project(tmp_path, '[model]\nsource = "model.skops"\n[models.churn]\nsource = "model.pkl"\n')
    with pytest.raises(ProjectError, match=r"churn\.onnx"):
        converted_models(found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.skops", "the model"),
        ("sample.csv", "the sample"),
        ("requirements.lock", "the lock"),
        ("tolerance", "the project file"),
        ("consumers", "the project file"),
        ("output", None),
    ],
)
def test_what_moved_is_named(tmp_path: Path, change: str, told: str | None) -> None:
    model = '[model]\nsource = "model.skops"\nsample = "sample.csv"\n'
    before = project(tmp_path, model)
    facts = made_from(before, "churn", before.all_models[0])
    extra = {"tolerance": "tolerance = { absolute = 1e-3 }", "consumers": 'consumers = ["ort-1.17"]'}
    if "." in change:
        (tmp_path / change).write_text("other")
    after = project(tmp_path, model + extra.get(change, 'output = "onnx"') + "\n" if "." not in change else model)
    assert list(moved(facts, made_from(after, "churn", after.all_models[0]))) == ([told] if told else [])


def test_an_entry_is_the_project_s_code(tmp_path: Path) -> None:
    found = project(tmp_path, '[model]\nentry = "train:fit"\n')
    (tmp_path / "train.py").write_text("a = 1\n")
    first = model_digest(found, "churn", found.all_models[0])
    for name in (".venv/x.py", "env/lib/y.py", "__pycache__/z.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("b")
    (tmp_path / "env/pyvenv.cfg").touch()
    assert model_digest(found, "churn", found.all_models[0]) == first
    (tmp_path / "features.py").write_text("a = 1\n")
    assert model_digest(found, "churn", found.all_models[0]) != first


def test_a_source_that_is_not_there_or_leads_away(tmp_path: Path) -> None:
    found = project(tmp_path, '[model]\nsource = "gone.skops"\n')
    with pytest.raises(ProjectError, match=r"not there: gone\.skops"):
        made_from(found, "churn", found.all_models[0])
    (tmp_path / "gone.skops").symlink_to("/etc/passwd")
    with pytest.raises(ProjectError, match="leaves the project"):
        made_from(found, "churn", found.all_models[0])


@pytest.mark.parametrize(
    ("consumer", "said"), [("java-0.9", "no operator set"), ("ort-99.1", "there is no onnxruntime")]
)
def test_a_consumer_that_can_t_be(tmp_path: Path, consumer: str, said: str) -> None:
    found = project(tmp_path, f'[model]\nsource = "model.skops"\nconsumers = ["{consumer}"]\n')
    with pytest.raises(ProjectError, match=said) as caught:
        consumers_of(found, found.all_models[0])
    assert caught.value.file == str(tmp_path / "lockship.toml")


@pytest.mark.parametrize(
    ("keys", "line", "said"),
    [
        ("", 5, "either source"),
        ('source = "a.skops"\nentry = "a:b"', 5, "either source"),
        ('entry = "a.b"', 6, "package.module:function"),
        ('entry = "a:b"\nformat = "skops"', 5, "an entry returns"),
        ('source = "a.bin"\nsample = "x.csv"', 5, "can't be told by its name"),
        ('source = "a.skops"\nsha256 = "abc"', 7, "64 hex digits"),
        ('source = "a.skops"\ntolerance = { absolute = -1 }', 7, "greater than or equal to 0"),
        ('source = "a.skops"\ntolerance = { absolute = inf }', 7, "finite"),
        ('source = "a.skops"\nprecision = "float16"', 7, "float32"),
        ('source = "a.skops"\nsample = "../x.csv"', 7, "may not leave"),
        ('source = "a.skops"\ninputs = { a = { unti = "EUR" } }', 7, "unknown key"),
    ],
)
def test_wrong_keys(tmp_path: Path, keys: str, line: int, said: str) -> None:
    with pytest.raises(ProjectError, match=said) as caught:
        project(tmp_path, f"[model]\n{keys}\n")
    assert caught.value.line == line


def test_a_model_s_name_becomes_a_file_s(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="a model's name becomes a file's"):
        project(tmp_path, '[models."../x"]\nsource = "a.skops"\n')


def refused(found: Project) -> ModelError:
    model = found.all_models[0]
    with pytest.raises(ModelError) as caught:
        refuse_hopeless(found, "churn", model, model_digest(found, "churn", model))
    return caught.value


def test_a_pickle_is_not_opened_unless_somebody_vouches_for_it(tmp_path: Path) -> None:
    found = project(tmp_path, '[model]\nsource = "model.pkl"\n')
    digest = model_digest(found, "churn", found.all_models[0]).hex
    assert "it was not opened" in refused(found).message
    found = project(tmp_path, '[model]\nsource = "model.pkl"\nallow-pickle = true\n')
    assert digest in str(refused(found).hint)
    found = project(tmp_path, f'[model]\nsource = "model.pkl"\nallow-pickle = true\nsha256 = "{"0" * 64}"\n')
    assert f"its sha256 is {digest}" in refused(found).message
    found = project(tmp_path, f'[model]\nsource = "model.pkl"\nsha256 = "{digest}"\n')
    assert "it was not opened" in refused(found).message
    found = project(tmp_path, f'[model]\nsource = "model.pkl"\nallow-pickle = true\nsha256 = "{digest}"\n')
    refuse_hopeless(found, "churn", found.all_models[0], f"sha256:{digest}")


def test_a_model_above_two_gigabytes(tmp_path: Path) -> None:
    found = project(tmp_path, '[model]\nsource = "model.onnx"\nsample = "sample.csv"\n')
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(ModelError, match="2,147,483,648 bytes") as caught:
        refuse_hopeless(found, "churn", found.all_models[0], "sha256:" + "0" * 64)
    assert "external data" in str(caught.value.hint)


def test_children_are_told_absolute_paths(tmp_path: Path) -> None:
    found = project(tmp_path, '[model]\nsource = "model.skops"\ninputs = { a = { unit = "EUR", type = "int64" } }\n')
    model = found.all_models[0]
    spec = spec_of(found, "churn", model, model_digest(found, "churn", model))
    assert spec["path"] == str((tmp_path / "model.skops").resolve())
    assert spec["root"] == str(tmp_path.resolve())
    assert (spec["format"], spec["inputs"]) == ("skops", {"a": {"unit": "EUR", "type": "int64"}})
    assert len(spec["sha256"]) == 64
