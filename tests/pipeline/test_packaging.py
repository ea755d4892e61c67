"""Models of a project as they are packaged; folders and loose contracts are in tests/models/consumers."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import ModelError, ProjectError, UsageError
from builder.models.contract import Sources
from builder.pipeline.packaging import converted_in
from builder.project import Project, load_project
from tests.support.models import wine


def project(folder: Path, models: str = '[models.wine]\nsource = "wine.skops"\n') -> Project:
    """A project whose model was converted."""
    (folder / "wine.skops").write_bytes(b"the original")
    sources = Sources(model=Digest.of(b"the original"))
    contract = wine().contract.model_copy(update={"sources": sources})
    (folder / "wine.contract.json").write_bytes(contract.to_json())
    (folder / "wine.onnx").write_bytes(wine().model)
    file = folder / "lockship.toml"
    file.write_text(f'name = "cellar"\nversion = "1.0"\n\n{models}')
    return load_project(file)


def test_the_only_model_needs_no_name(tmp_path: Path) -> None:
    found = project(tmp_path)
    assert converted_in(found, None) == converted_in(found, "wine")
    assert converted_in(found, None).model == wine().model


def test_one_of_several_does(tmp_path: Path) -> None:
    two = '[models.wine]\nsource = "wine.skops"\n\n[models.beer]\nsource = "beer.skops"\n'
    found = project(tmp_path, two)
    with pytest.raises(UsageError, match="which model\\? there are beer, wine"):
        converted_in(found, None)
    with pytest.raises(ProjectError, match="no model called 'gin'"):
        converted_in(found, "gin")
    assert converted_in(found, "wine").contract.name == "wine"


def test_what_was_not_converted_is_refused(tmp_path: Path) -> None:
    found = project(tmp_path)
    (tmp_path / "wine.skops").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"wine\.skops changed since it was converted"):
        converted_in(found, None)
    with pytest.raises(ProjectError, match="has no model that is converted"):
        converted_in(project(tmp_path, ""), None)
