"""Converted models in images: what goes in, and what is refused while it is stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import ModelError
from builder.models.contract import Sources
from builder.pipeline.planning import plan, prepare
from builder.pipeline.shipped import shipped
from builder.project import Project, load_project
from tests.support.contracts import MODEL, small
from tests.support.world import World

TOML = 'name = "churn"\nversion = "1.4.0"\n'
CONVERTED = TOML + '[model]\nsource = "out/model.skops"\ntarget = "/models/churn.onnx"\n'


def project(folder: Path, text: str = CONVERTED) -> Project:
    (folder / "lockship.toml").write_text(text)
    return load_project(folder / "lockship.toml")


def write(folder: Path, source: str = "the original") -> None:
    """A source, and what was converted from it."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out/model.skops").write_text(source)
    contract = small(sources=Sources(model=Digest.of(source.encode())))
    (folder / "out/churn.onnx").write_bytes(MODEL)
    (folder / "out/churn.contract.json").write_bytes(contract.to_json())


def test_the_model_and_its_contract_go_in(tmp_path: Path) -> None:
    write(tmp_path)
    (one,) = shipped(project(tmp_path))
    assert one.title == "out/churn.onnx"
    assert one.files == (
        ("out/churn.onnx", "/models/churn.onnx"),
        ("out/churn.contract.json", "/models/churn.contract.json"),
    )


def test_what_nobody_asked_to_convert_goes_in_as_it_is(tmp_path: Path) -> None:
    text = '[model]\nsource = "a.onnx"\n[models.b]\nsource = "b.bin"\ntarget = "/b"\n'
    found = [one.files for one in shipped(project(tmp_path, TOML + text))]
    assert found == [(("a.onnx", "/app/a.onnx"),), (("b.bin", "/b"),)]


@pytest.mark.parametrize("missing", ["churn.onnx", "churn.contract.json"])
def test_a_model_that_was_not_converted(tmp_path: Path, missing: str) -> None:
    write(tmp_path)
    (tmp_path / "out" / missing).unlink()
    with pytest.raises(ModelError, match="was not converted yet") as caught:
        list(shipped(project(tmp_path)))
    assert caught.value.file == str(tmp_path / "out" / missing)
    assert "run `lockship convert`" in str(caught.value.hint)
    assert 'files = ["out/model.skops"]' in str(caught.value.hint)


def test_a_model_that_changed_since(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "out/model.skops").write_text("retrained")
    with pytest.raises(ModelError, match=r"out/model\.skops changed since it was converted") as caught:
        list(shipped(project(tmp_path)))
    assert caught.value.exit_code == 4


def test_an_onnx_that_is_not_the_contract_s(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "out/churn.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match="is not the model of its contract"):
        list(shipped(project(tmp_path)))


@pytest.mark.apt
def test_one_layer_has_both(here: World) -> None:
    here.wheel("alpha")
    write(here.root)
    here.project("alpha\n", rest='[models.churn]\nsource = "out/model.skops"\n')
    assert here.run("lock").code == 0
    prepared = prepare(here.load(), here.context)
    (layer,) = [one for one in prepared.local.values() if one.layer.kind == "model"]
    paths = [entry.path for entry in layer.entries if entry.size]
    assert paths == ["app/churn.contract.json", "app/churn.onnx"]
    digest = plan(here.load(), here.context).descriptor.digest
    assert here.run("build").out.strip() == digest
    (here.root / "out/model.skops").write_text("retrained")
    for command in ("plan", "build", "push"):
        done = here.run(command, *(["--repository", "127.0.0.1:1/a/b"] if command == "push" else []))
        assert done.code == 4, done
        assert "error: out/churn.onnx: out/model.skops changed since it was converted\n" in done.err
        assert "lockship convert" in done.err
