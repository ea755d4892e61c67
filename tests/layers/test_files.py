"""The project's own files: what goes into an image, and what never does."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.errors import ArtifactError, ProjectError
from builder.layers.encode import encode
from builder.layers.files import Collected, collect, looks_like_a_secret, model_entries
from builder.layers.tar import Kind


def write(root: Path, *names: str, **content: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.get("text", name))


def paths(collected: Collected) -> set[str]:
    return {entry.path for entry in collected.entries if entry.kind is not Kind.DIRECTORY}


def blob(collected: Collected) -> bytes:
    sink = io.BytesIO()
    encode(collected.entries, sink)
    return sink.getvalue()


def test_folders_and_files_go_where_they_should(tmp_path: Path) -> None:
    write(tmp_path, "churn/__init__.py", "churn/deep/a.py", "config.yaml", "other.txt")
    found = collect(tmp_path, [("churn/", "/app/churn"), ("config.yaml", "/etc/churn.yaml")])
    assert paths(found) == {"app/churn/__init__.py", "app/churn/deep/a.py", "etc/churn.yaml"}


def test_ignore_files_are_honoured(tmp_path: Path) -> None:
    write(tmp_path, "p/a.py", "p/a.log", "p/keep.log", "p/sub/b.log", "p/build/x", "p/docker.md", "p/sub/deep.md")
    (tmp_path / ".gitignore").write_text("*.log\n/p/build/\n")
    (tmp_path / "p/.gitignore").write_text("!keep.log\n")
    (tmp_path / ".dockerignore").write_text("# comment\np/*.md\n")
    found = collect(tmp_path, [("p", "/app/p")])
    assert paths(found) == {
        "app/p/.gitignore",
        "app/p/a.py",
        "app/p/keep.log",
        "app/p/sub/deep.md",
    }


def test_ignore_files_above_the_project_count_up_to_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.py\n")  # outside of the repository
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    (repository / ".gitignore").write_text("*.tmp\n")
    write(repository / "project", "p/a.py", "p/a.tmp")
    assert paths(collect(repository / "project", [("p", "/app/p")])) == {"app/p/a.py"}


def test_a_file_that_is_named_is_taken_though_git_ignores_it(tmp_path: Path) -> None:
    write(tmp_path, "generated.json")
    (tmp_path / ".gitignore").write_text("generated.json\n")
    assert paths(collect(tmp_path, [("generated.json", "/app/generated.json")])) == {"app/generated.json"}


def test_credentials_and_caches_never_go_in(tmp_path: Path) -> None:
    write(
        tmp_path,
        *("p/.env", "p/.env.production", "p/id_rsa", "p/server.key", "p/.netrc", "p/.git/config", "p/.aws/credentials"),
        *("p/__pycache__/a.pyc", "p/.venv/x", "p/.lockship/store/x"),
        *("p/.env.example", "p/a.py"),
    )
    assert paths(collect(tmp_path, [("p", "/app/p")])) == {"app/p/.env.example", "app/p/a.py"}


def test_naming_credentials_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, ".env")
    with pytest.raises(ProjectError, match="holds credentials") as caught:
        collect(tmp_path, [(".env", "/app/.env")])
    assert "when the container starts" in (caught.value.hint or "")


def test_a_private_key_under_any_name_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "p/notes.txt", text="-----BEGIN RSA PRIVATE KEY-----\nMII")
    with pytest.raises(ProjectError, match=r"p/notes\.txt holds a private key"):
        collect(tmp_path, [("p", "/app/p")])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x = 1\nkey = 'AKIA" + "ABCDEFGHIJKLMNOP'", "an AWS access key"),
        ("x = 1\ntoken: ghp_" + "a" * 36, "a GitHub token"),
        ("x = 1\npassword = 'correct horse'", None),
        ("x = 1\npassword = 'correcthorse'", "a password"),
        ("x = 1\nurl = https://user:pass@example.com/x", "credentials in a URL"),
    ],
)
def test_what_looks_like_a_secret_is_named_with_its_line_and_not_shown(
    tmp_path: Path, text: str, what: str | None
) -> None:
    write(tmp_path, "p/settings.py", text=text)
    warnings = collect(tmp_path, [("p", "/app/p")]).warnings
    if what is None:
        assert warnings == ()
    else:
        assert warnings == (f"p/settings.py:2 looks like {what}, and goes into the image",)


def test_links_inside_stay_links_and_others_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "p/a.py")
    (tmp_path / "p/b.py").symlink_to("a.py")
    found = collect(tmp_path, [("p", "/app/p")])
    assert [entry.link for entry in found.entries if entry.kind is Kind.SYMLINK] == ["a.py"]
    (tmp_path / "p/out").symlink_to("../../etc/passwd")
    with pytest.raises(ProjectError, match="leaves the project"):
        collect(tmp_path, [("p", "/app/p")])


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"nothing\.py: No such file"):
        collect(tmp_path, [("nothing.py", "/app/nothing.py")])
    with pytest.raises(ProjectError, match=r"model\.onnx is not there"):
        model_entries(tmp_path, "model.onnx", "/app/model.onnx")


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    os.mkfifo(tmp_path / "p/pipe")
    with pytest.raises(ProjectError, match="neither a file nor a folder"):
        collect(tmp_path, [("p", "/app/p")])


def test_two_sources_for_one_path_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "b.txt")
    with pytest.raises(ProjectError, match=r"two files go to /app/x"):
        collect(tmp_path, [("a.txt", "/app/x"), ("b.txt", "/app/x")])


def test_a_whiteout_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "p/.wh.passwd")
    with pytest.raises(ArtifactError, match="whiteout"):
        collect(tmp_path, [("p", "/app/p")])


def test_folders_of_the_base_keep_their_modes(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    found = collect(tmp_path, [("a.txt", "/tmp/a.txt")])
    assert {entry.path: entry.mode for entry in found.entries}["tmp"] == 0o1777


PROGRAM = """
import sys, io, hashlib, os, pathlib
from builder.layers.encode import encode
from builder.layers.files import collect
class Sink:
    def __init__(self): self.hash = hashlib.sha256()
    def write(self, data): self.hash.update(data)
sink = Sink()
encode(collect(pathlib.Path(sys.argv[1]), [("p", "/app/p")]).entries, sink)
print(sink.hash.hexdigest())
"""


@pytest.mark.parametrize(
    "variation",
    [
        {"TZ": "Asia/Kathmandu"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONHASHSEED": "7"},
        {"umask": "0o077"},
        {"cwd": "/"},
        {"order": "reversed"},
        {"clock": "old"},
    ],
    ids=lambda variation: next(iter(variation)),
)
def test_the_layer_is_the_same_whatever_does_not_matter(tmp_path: Path, variation: dict[str, str]) -> None:
    names = ["p/a.py", "p/ä ö.py", "p/z/b.py", "p/z/run.sh", "p/0.txt"]

    def digest(root: Path, setting: dict[str, str]) -> str:
        old = os.umask(int(setting.get("umask", "0o022"), 8))
        try:
            for name in reversed(names) if "order" in setting else names:
                write(root, name)
        finally:
            os.umask(old)
        (root / "p/z/run.sh").chmod(0o755 if "umask" not in setting else 0o700)
        if "clock" in setting:
            for path in root.rglob("*"):
                os.utime(path, (1, 1))
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), "LC_ALL": "C.UTF-8"}
        environ |= {key: value for key, value in setting.items() if key.isupper()}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(root)],
            env=environ,
            cwd=setting.get("cwd", str(tmp_path)),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert digest(tmp_path / "one", {}) == digest(tmp_path / "two", variation)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_gitignore_agrees_with_git(tmp_path: Path) -> None:
    write(tmp_path, *(f"p/{name}" for name in ("a.py", "a.pyc", "data/x.csv", "data/keep/y.csv", "tmp/z", "sub/tmp")))
    (tmp_path / ".gitignore").write_text("*.pyc\np/data/*\n!p/data/keep\ntmp/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "p"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert paths(collect(tmp_path, [("p", "/app/p")])) == {f"app/{name}" for name in listed}


@pytest.mark.parametrize(
    "target",
    [
        "/usr/bin/x",
        "/bin/sh",
        "/lib/x.so",
        "/lib64",
        "/usr",
        "/usr/local",
        "/opt/venv/bin/python",
        "/var/lib/dpkg/status.d/x",
        "/proc/x",
        "/dev/null",
        "//usr/./lib/x",
        "/usr/lib/a\nb",
    ],
)
def test_nothing_goes_where_packages_are(tmp_path: Path, target: str) -> None:
    write(tmp_path, "a.txt")
    with pytest.raises(ProjectError, match="where packages have their files") as caught:
        collect(tmp_path, [("a.txt", target)])
    assert "target" in (caught.value.hint or "")
    with pytest.raises(ProjectError, match="where packages have their files"):
        model_entries(tmp_path, "a.txt", target)


@pytest.mark.parametrize("target", ["/usr/local/bin/x", "/etc/app.yaml", "/opt/venv2/x", "/library/x", "/srv/x", "/x"])
def test_folders_of_its_own_are_free(tmp_path: Path, target: str) -> None:
    write(tmp_path, "a.txt")
    assert paths(collect(tmp_path, [("a.txt", target)])) == {target.lstrip("/")}


def test_a_folder_that_is_a_link_does_not_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(tmp_path, "outside/credentials", "project/inside/a.txt")
    (root / "link").symlink_to("../outside")
    (root / "model.onnx").symlink_to("../outside/credentials")
    (root / "fine").symlink_to("inside")
    for source in ("link/credentials", "link/"):
        with pytest.raises(ProjectError, match="leaves the project"):
            collect(root, [(source, "/app/x")])
    with pytest.raises(ProjectError, match="leaves the project"):
        model_entries(root, "model.onnx", "/app/model.onnx")
    assert paths(collect(root, [("fine/a.txt", "/app/a.txt")])) == {"app/a.txt"}


def test_a_project_behind_a_link_is_like_any_other(tmp_path: Path) -> None:
    write(tmp_path, "real/p/a.py", "real/model.onnx")
    (tmp_path / "link").symlink_to("real")
    assert paths(collect(tmp_path / "link", [("p", "/app/p"), (".", "/app/all")])) == {
        "app/p/a.py",
        "app/all/p/a.py",
        "app/all/model.onnx",
    }
    assert model_entries(tmp_path / "link", "model.onnx", "/app/model.onnx")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's folder")
def test_what_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    write(tmp_path, "p/a.py", "p/closed/b.py", "model.onnx")
    (tmp_path / "p/closed").chmod(0o700)
    (tmp_path / "model.onnx").chmod(0o600)
    model = model_entries(tmp_path, "model.onnx", "/app/model.onnx")
    os.seteuid(65534)
    try:
        with pytest.raises(ProjectError, match=r"p/closed: Permission denied") as caught:
            collect(tmp_path, [("p", "/app/p")])
        with pytest.raises(ProjectError, match=r"model\.onnx: Permission denied"):
            encode(model, io.BytesIO(), compress=False)
    finally:
        os.seteuid(0)
    assert caught.value.hint


def test_settings_that_look_like_secrets() -> None:
    assert looks_like_a_secret("DB_PASSWORD", "correct-horse") == "a password"
    assert looks_like_a_secret("URL", "postgres://me:secret@db/x") == "credentials in a URL"
    for key, value in (("MAX_TOKENS", "4096"), ("MODEL", "/app/model.onnx"), ("TOKEN", "/run/secrets/token")):
        assert looks_like_a_secret(key, value) is None
