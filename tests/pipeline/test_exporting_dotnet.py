from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.cli.app import invoke
from builder.models.contract import Contract
from tests.support.contracts import MODEL, small


def converted(folder: Path, contract: Contract | None = None) -> Path:
    """What `lockship convert` leaves."""
    folder.mkdir(exist_ok=True)
    (folder / "churn.onnx").write_bytes(MODEL)
    (folder / "churn.contract.json").write_bytes((contract or small()).to_json())
    return folder / "churn.contract.json"


def run(*arguments: str | Path) -> int:
    return invoke(["export", "dotnet", *map(str, arguments)])


def test_a_contract_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--contract", converted(tmp_path), "--package", "Acme.Churn") == 0
    said = capsys.readouterr()
    assert said.out == "dotnet/Acme.Churn.1.4.0.nupkg\n"
    assert said.err == "Acme.Churn 1.4.0, class Acme.Churn.ChurnModel, upon onnxruntime 1.20.0\n"
    assert (tmp_path / "dotnet/src/Acme.Churn/ChurnModel.cs").is_file()


def test_json_says_what_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = converted(tmp_path)
    assert (
        run("--contract", contract, "-o", tmp_path / "out", "--onnxruntime", "1.31.1", "--version", "2.0", "--json")
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document.pop("warnings", []) == []
    assert document == {
        "schema": "dev.lockship.export-dotnet/v1",
        "ok": True,
        "folder": str(tmp_path / "out"),
        "nupkg": str(tmp_path / "out" / "Churn.2.0.0.nupkg"),
        "package": "Churn",
        "version": "2.0.0",
        "class": "Churn.ChurnModel",
        "onnxruntime": "1.31.1",
        "model": small().digest,
    }


def test_an_earlier_export_is_replaced_and_nothing_else_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = converted(tmp_path)
    assert run("--contract", contract, "-o", tmp_path / "out") == 0
    assert run("--contract", contract, "-o", tmp_path / "out", "--package", "Other") == 0
    assert not (tmp_path / "out/src/Churn").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/README.md").write_text("# Mine\n")
    assert run("--contract", contract, "-o", tmp_path / "mine") == 7
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "mine/README.md").read_text() == "# Mine\n"


def test_what_names_became_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = small()
    (age, *rest) = contract.inputs
    twin = age.model_copy(update={"features": (age.features[0].model_copy(update={"name": "PLAN"}),)})
    assert (
        run(
            "--contract",
            converted(tmp_path, contract.model_copy(update={"inputs": (twin, *rest)})),
            "-o",
            tmp_path / "o",
        )
        == 0
    )
    assert "warning: the columns 'PLAN', 'plan' would share one identifier: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--package", "no id"], 2, "not a NuGet package id"),
        (["--version", "latest"], 2, "NuGet takes no version"),
        (["--onnxruntime", "1.8.0"], 2, "it needs 1.14"),
    ],
)
def test_wishes_that_cannot_be(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--contract", converted(tmp_path), "-o", tmp_path / "out", *arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_model_than_the_contracts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = converted(tmp_path)
    (tmp_path / "churn.onnx").write_bytes(b"another")
    assert run("--contract", contract, "-o", tmp_path / "out") == 4
    assert "is not the model of churn.contract.json" in capsys.readouterr().err


def test_a_project_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lockship.toml").write_text('name = "demo"\nversion = "1.0"\n')
    assert run("-C", tmp_path, "-o", tmp_path / "out") == 2
    assert "has no model that is converted" in capsys.readouterr().err
