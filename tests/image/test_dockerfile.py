from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.content import Digest
from builder.deploy.docker import Streams, connect, run
from builder.errors import ProjectError, RefusedError, StoreError
from builder.image.config import Facts, image_config
from builder.image.dockerfile import PIP, base_archives, render_dockerfile, write_context
from builder.layers import tar
from builder.layers.recipe import Layer
from builder.project import Project
from builder.registry.layout import Layout
from tests.support.layers import host_python, put_layer
from tests.support.require import need
from tests.support.wheels import make_wheel

FACTS = Facts("churn", "1.0", base="debian:bookworm", revision="abc")


def project(**image: Any) -> Project:
    return Project.model_validate({"name": "churn", "version": "1.0", "image": image})


def dockerfile(found: Project, **more: Any) -> str:
    settings = {"base": ["00-system-0.tar.gz", "01-deb-1.tar.gz"], "python": "3.11.2"} | more
    return render_dockerfile(found, FACTS, **settings)


def test_golden() -> None:
    text = dockerfile(
        project(env={"MODEL": "/app/m"}, command=["python", "-m", "churn"], ports=[8080], labels={"team": "a"})
    )
    assert text == (
        """\
# Written by `lockship export dockerfile` from lockship.lock: churn 1.0.
# Build it in this folder: docker build -t churn:1.0 .
# The base is what the lock pins: its layers are in base/, each named by its digest. Wheels are pinned by hash.

FROM scratch AS base
ADD ["base/00-system-0.tar.gz", "base/01-deb-1.tar.gz", "/"]

FROM base AS packages
# the base has no shell and no pip: pip runs from its own wheel, and stays behind in this stage
WORKDIR /build
COPY ["PIP", "requirements.lock", "/build/"]
COPY ["wheels/", "/build/wheels/"]
RUN ["python3.11", "-m", "venv", "--without-pip", "/opt/venv"]
RUN ["/opt/venv/bin/python", "/build/PIP/pip", "install", "--no-deps", "--require-hashes", "--only-binary=:all:", \
"--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore", "--compile", "--no-index", \
"--find-links=/build/wheels", "--requirement=/build/requirements.lock"]

FROM base
COPY --from=packages ["/opt/venv", "/opt/venv"]
COPY ["files/", "/"]
ENV PATH="/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \\
    LANG="C.UTF-8" \\
    VIRTUAL_ENV="/opt/venv" \\
    PYTHONUNBUFFERED="1" \\
    PYTHONDONTWRITEBYTECODE="1" \\
    MODEL="/app/m"
LABEL org.opencontainers.image.title="churn" \\
    org.opencontainers.image.version="1.0" \\
    org.opencontainers.image.created="1970-01-01T00:00:00Z" \\
    org.opencontainers.image.revision="abc" \\
    dev.lockship.base="debian:bookworm" \\
    team="a" \\
    dev.lockship.python="3.11.2"
WORKDIR "/app"
EXPOSE 8080/tcp
USER 65532:65532
ENTRYPOINT []
CMD ["python", "-m", "churn"]
"""
    ).replace("PIP", PIP[0])


def test_from_an_index() -> None:
    text = dockerfile(project(), wheels=False, files=False)
    assert "--require-hashes" in text
    assert "--no-index" not in text
    assert "wheels" not in text
    assert "ARG PIP_INDEX_URL\n" in text
    assert "files/" not in text


def test_values_are_not_expanded() -> None:
    text = dockerfile(project(env={"A": 'a "b" $HOME \\x'}, workdir="/a $b"))
    assert r'A="a \"b\" \$HOME \\x"' in text
    assert r'WORKDIR "/a \$b"' in text


def test_a_value_that_a_dockerfile_cannot_say() -> None:
    with pytest.raises(ProjectError, match="line break") as caught:
        dockerfile(project(env={"A": "one\nRUN evil"}))
    assert caught.value.exit_code == 2


def test_archives_are_named_in_order_by_digest() -> None:
    layers = [Layer(kind, Digest.of(kind.encode()), 1, Digest.of(b"")) for kind in ("system", "deb")]
    assert list(base_archives(layers)) == [
        f"00-system-{layers[0].digest.hex}.tar.gz",
        f"01-deb-{layers[1].digest.hex}.tar.gz",
    ]


@pytest.fixture
def pip_wheel(tmp_path: Path) -> Path:
    wheel = tmp_path / "pip.whl"
    wheel.write_bytes(b"pip")
    return wheel


def fill(
    folder: Path, pip: Path, *entries: tar.Entry, text: str = "# Written by `lockship export dockerfile`\n"
) -> None:
    write_context(
        folder, text, requirements=b"x==1\n", pip=pip, base={"b.gz": pip}, wheels={"x-1.whl": pip}, entries=entries
    )


def test_the_folder(tmp_path: Path, pip_wheel: Path) -> None:
    umask = os.umask(0o077)
    try:
        fill(
            tmp_path / "out",
            pip_wheel,
            *tar.arrange(
                [tar.file("app/run.sh", b"#!", 0o755), tar.file("app/a.py", b"1"), tar.symlink("app/l", "a.py")]
            ),
        )
    finally:
        os.umask(umask)
    out = tmp_path / "out"
    modes = {str(path.relative_to(out)): oct(path.lstat().st_mode & 0o777) for path in sorted(out.rglob("*"))}
    assert modes == {
        "Dockerfile": "0o644",
        "base": "0o755",
        "base/b.gz": "0o644",
        PIP[0]: "0o644",
        "files": "0o755",
        "files/app": "0o755",
        "files/app/a.py": "0o644",
        "files/app/l": "0o777",
        "files/app/run.sh": "0o755",
        "requirements.lock": "0o644",
        "wheels": "0o755",
        "wheels/x-1.whl": "0o644",
    }
    assert out.stat().st_mode & 0o777 == 0o755


def test_an_earlier_export_is_replaced(tmp_path: Path, pip_wheel: Path) -> None:
    fill(tmp_path / "out", pip_wheel, tar.file("old.py", b""))
    fill(tmp_path / "out", pip_wheel, tar.file("new.py", b""))
    assert [path.name for path in (tmp_path / "out/files").iterdir()] == ["new.py"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pip.whl"]


def test_anything_else_is_refused(tmp_path: Path, pip_wheel: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    fill(mine, pip_wheel)  # an empty folder is fine
    (mine / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(RefusedError, match="holds something else") as caught:
        fill(mine, pip_wheel)
    assert caught.value.exit_code == 7
    assert (mine / "Dockerfile").read_text() == "FROM scratch\n"
    with pytest.raises(RefusedError):
        fill(pip_wheel, pip_wheel)


def test_a_failure_leaves_the_earlier_export(tmp_path: Path, pip_wheel: Path) -> None:
    fill(tmp_path / "out", pip_wheel)
    with pytest.raises(StoreError):
        fill(tmp_path / "out", tmp_path / "none")
    assert (tmp_path / "out/requirements.lock").read_bytes() == b"x==1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pip.whl"]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The one layer of a base: Python, no shell, no pip."""
    store = Layout(tmp_path_factory.mktemp("base") / "store")
    layer = put_layer(store, "system", host_python(), ("python", "3"))
    path = store.path(layer.digest)
    assert path is not None
    return dict.fromkeys(base_archives([layer]), path)


@pytest.mark.engine
@pytest.mark.index
@pytest.mark.slow
@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_docker_builds_it(base: dict[str, Path], engine: str, tmp_path: Path, buildkit: str) -> None:
    docker = connect({"DOCKER_HOST": engine})
    client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
    need("the docker client", client, "it isn't installed")
    assert client is not None
    downloaded = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            str(tmp_path),
            "pip==26.3",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    need("the package index", downloaded.returncode == 0, downloaded.stderr[-200:])
    pip = tmp_path / PIP[0]
    assert hashlib.sha256(pip.read_bytes()).hexdigest() == PIP[1].hex
    wheel = make_wheel(
        tmp_path / "w", "greet", "1.0", {"greet.py": b"def main(): print('hello from a wheel')\n"},
        entry_points="[console_scripts]\ngreet = greet:main\n",
    )  # fmt: skip
    found = Project.model_validate(
        {
            "name": "churn",
            "version": "1.0",
            "image": {
                "env": {"PRICE": '5 $ "net" \\'},
                "command": ["python", "-c", "import os, greet; greet.main(); print(os.environ['PRICE'], os.getuid())"],
                "labels": {"team": "a b"},
                "ports": [8080],
            },
        }
    )
    version = platform.python_version()
    text = render_dockerfile(found, FACTS, base=list(base), python=version)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def build(requirements: str) -> subprocess.CompletedProcess[str]:
        entries = tar.arrange([tar.file("app/data.txt", b"data"), tar.symlink("app/link", "data.txt")])
        write_context(
            tmp_path / "out",
            text,
            requirements=requirements.encode(),
            pip=pip,
            base=base,
            wheels={wheel.name: wheel},
            entries=entries,
        )
        environ = os.environ | {"DOCKER_HOST": engine, "DOCKER_BUILDKIT": buildkit}
        argv = [client, "build", "--network", "none", "-t", "lockship-test-export:1", str(tmp_path / "out")]
        return subprocess.run(argv, env=environ, check=False, capture_output=True, text=True)

    done = build(f"greet==1.0 --hash=sha256:{digest}\n")
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        config = docker.api.inspect_image("lockship-test-export:1")["Config"]
        expected = image_config(found, docker.platform, [], FACTS, python=version)
        ours = json.loads(expected)["config"]
        for key in ("Env", "Cmd", "WorkingDir", "User", "Labels", "ExposedPorts"):
            assert config[key] == ours[key], key
        assert not config.get("Entrypoint")
        with (tmp_path / "stdout").open("w+b") as stdout:
            assert run(docker, "lockship-test-export:1", streams=Streams(stdout), network="none") == 0
            assert run(docker, "lockship-test-export:1", ["greet"], streams=Streams(stdout), network="none") == 0
            script = "import pathlib, importlib.util as u; print(pathlib.Path('link').read_text(), u.find_spec('pip'))"
            assert (
                run(docker, "lockship-test-export:1", ["python", "-c", script], streams=Streams(stdout), network="none")
                == 0
            )
            stdout.seek(0)
            lines = stdout.read().decode().splitlines()
        assert lines == ["hello from a wheel", '5 $ "net" \\ 65532', "hello from a wheel", "data None"]
    finally:
        docker.api.remove_image("lockship-test-export:1", force=True)
    wrong = build(f"greet==1.0 --hash=sha256:{'0' * 64}\n")
    assert wrong.returncode != 0
    assert "HASHES" in wrong.stdout + wrong.stderr
    docker.close()
