"""`[java]`: what may stand there, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ProjectError
from builder.project import Project, load_project, project_inputs

GOOD = "com.microsoft.onnxruntime:onnxruntime:1.20.0"


def load(folder: Path, *artifacts: str, more: str = "") -> Project:
    listed = ", ".join(f'"{one}"' for one in artifacts)
    file = folder / "lockship.toml"
    file.write_text(f'name = "churn"\nversion = "1.0"\n\n[java]\nartifacts = [{listed}]\n{more}\n')
    return load_project(file)


def test_the_defaults(tmp_path: Path) -> None:
    others = ("org.lwjgl:lwjgl:3.3.4:natives-linux", "com.acme:churn:1.0+5")
    java = load(tmp_path, GOOD, *others).java
    assert java is not None
    assert java.artifacts == (GOOD, *others)
    assert (java.repositories, java.folder) == ((), "/app/lib")


@pytest.mark.parametrize(
    ("artifact", "words"),
    [
        ("onnxruntime", "group:artifact:version"),
        ("com.microsoft.onnxruntime:onnxruntime", "group:artifact:version"),
        ("a:b:c:d:e", "group:artifact:version"),
        ("a:b:1.0-SNAPSHOT", "is another file tomorrow"),
        ("a:b:LATEST", "is another file tomorrow"),
        ("a:b:[1.0,2.0)", "a range of versions is another one tomorrow"),
        ("a:../b:1.0", "'../b' can't be part of a Maven artifact"),
        ("a:b:", "'' can't be part of a Maven artifact"),
        ("a</groupId>:b:1", "can't be part of a Maven artifact"),
    ],
)
def test_an_artifact_that_cannot_be_locked_is_refused_with_its_line(tmp_path: Path, artifact: str, words: str) -> None:
    with pytest.raises(ProjectError) as caught:
        load(tmp_path, GOOD, artifact)
    assert words in caught.value.message
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "lockship.toml"), 5)


def test_one_artifact_has_one_version(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="one artifact in two versions"):
        load(tmp_path, GOOD, "com.microsoft.onnxruntime:onnxruntime:1.19.2")
    with pytest.raises(ProjectError, match="is there twice"):
        load(tmp_path, GOOD, GOOD)
    with pytest.raises(ProjectError, match="artifacts: needs at least one item"):
        load(tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:geheim@maven.example.com/r",
        "https://maven.example.com/r?token=geheim",
        "http://x.test/r",
        "https://maven.example.com/${env.TOKEN}",  # Maven would send what is in it
        "https://${env.TOKEN}.example.com/r",
        "https://[maven/r",
        "https://maven.example.com:99999/r",
        "https:///r",
        "https://maven..com/r",
    ],
)
def test_a_repository_holds_no_credentials_and_is_asked_over_tls(tmp_path: Path, address: str) -> None:
    with pytest.raises(ProjectError) as caught:
        load(tmp_path, GOOD, more=f'repositories = ["{address}"]')
    assert "without credentials" in caught.value.message
    assert "geheim" not in str(caught.value)
    assert caught.value.line == 6


@pytest.mark.parametrize(
    "folder",
    [
        "/", "/usr/share/java", "/opt/venv/lib", "/etc", "//lib/x", "app/lib", "/app/../etc",
        "/./etc/x", "/opt/./venv/lib", "/.", "/app/lib\\n", "/app/l\\\\ib",
    ],
)  # fmt: skip
def test_jars_go_into_a_folder_of_their_own(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ProjectError, match="destination"):
        load(tmp_path, GOOD, more=f'destination = "{folder}"')


def test_another_folder_is_written_in_one_way(tmp_path: Path) -> None:
    java = load(tmp_path, GOOD, more='destination = "/usr/./local//jars/"').java
    assert java is not None
    assert java.folder == "/usr/local/jars"


def test_locks_from_before_there_were_jars_still_fit(tmp_path: Path) -> None:
    inputs = project_inputs(load(tmp_path, GOOD))
    assert [key for key in inputs if key.startswith("[java]")] == [
        "[java] artifacts", "[java] repositories", "[java] destination",
    ]  # fmt: skip
    (tmp_path / "lockship.toml").write_text('name = "churn"\nversion = "1.0"\n')
    assert not [key for key in project_inputs(load_project(tmp_path / "lockship.toml")) if "java" in key]
