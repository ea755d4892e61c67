"""Models of conda projects: converted beside the packages of the environment, which run on this machine."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ArtifactError, ModelError, StoreError
from builder.models.contract import read_contract
from builder.pipeline.conda_pythons import CondaPython, conda_python
from builder.pipeline.context import Context, host_platform
from builder.pipeline.workshop import Workshop
from tests.conftest import DEVELOPER
from tests.support.apt_repository import Key
from tests.support.conda import PLACEHOLDER, Channel, indexed, serve_channel
from tests.support.conda_science import SUBDIR, science
from tests.support.locked import TRAIN, Locked
from tests.support.world import World, world

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.apt]

OLD = ["scikit-learn==1.5.2", "numpy==1.26.4", "pandas==2.2.3", "skops==0.11.0"]
SAMPLE = 'sample = "holdout.csv"\ndrop = ["churned"]\n'
BOOSTED = f'[models.boosted]\nsource = "boosted.skops"\n{SAMPLE}consumers = ["java-1.17"]\n'


class Lab(Locked):
    """A project whose environment comes from `channel`: all from conda, but for joblib."""

    channel: Channel


def environment(here: World, channel: Channel, *specs: str, platform: str = "") -> None:
    """Write the project and its environment, and lock them."""
    listed = "".join(f"  - {spec}\n" for spec in specs)
    here.write("environment.yml", f"channels:\n  - {channel.url}\ndependencies:\n{listed}")
    here.write(
        "lockship.toml",
        'name = "demo"\nversion = "1.0"\n\n[python]\nconda = "environment.yml"\n\n[image]\n'
        f'platforms = ["{platform or host_platform()}"]\n'
        f'[[image.sources]]\nuri = "{here.debs.uri}"\nkeyring = "keys.gpg"\n',
    )
    done = here.run("lock")
    assert done.code == 0, done


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, archive_key: Key, shared_cache: Cache) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("conda-models")
    with world(folder, archive_key) as made, serve_channel(folder / "channels") as channel:
        found = Lab(folder, archive_key, made.index)
        found.channel = channel
        found.cache = shared_cache
        for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL"):
            found.environ.pop(name)
        found.environ |= {name: value for name, value in DEVELOPER.items() if name.startswith(("PIP_", "SSL_"))}
        found.environ["LOCKSHIP_CACHE"] = str(shared_cache.root)
        versions = science(channel, OLD, shared_cache, DEVELOPER)
        channel.package(
            "placed", files={"bin/placed": (f"#!{PLACEHOLDER}/bin/python\nprint('placed')\n", 0o755)}, subdir=SUBDIR
        )
        indexed(channel.folder)
        conda = sorted(versions.keys() - {"joblib"})
        environment(found, channel, *conda, "placed", "pip", "pip: [joblib==1.4.2]")
        found.write("train.py", TRAIN)
        found.trained("train.py")
        yield found


def test_a_model_is_converted_beside_its_environment(lab: Lab) -> None:
    lab.models(BOOSTED)
    done = lab.run("convert")
    assert done.code == 0, done
    assert "rows compared under onnxruntime 1.17.3, labels the same" in done.err
    contract = read_contract(lab.root / "boosted.contract.json")
    assert contract.sources.lock == Digest.of((lab.root / "conda-lock.yml").read_bytes())
    assert lab.run("convert", "--check").code == 0
    # what is in the cache needs neither channel nor index
    lab.channel.requests.clear()
    away = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_FIND_LINKS": ""}
    anew = lab.run("convert", "--anew", environ=away)
    assert (anew.code, anew.out) == (0, done.out), anew
    assert lab.channel.requests == []
    # another environment, another reference
    file = lab.root / "conda-lock.yml"
    text = file.read_text()
    file.write_text(text + "# moved\n")
    assert "the lock changed" in lab.run("convert", "--check").err
    assert lab.run("convert").code == 3
    file.write_text(text)


def test_what_runs_there_is_what_is_locked(lab: Lab) -> None:
    shop = Workshop(lab.load(), lab.context)
    code = (
        "import json, joblib, numpy, sklearn, sys\n"
        "print(json.dumps([[one.__version__, one.__file__] for one in (joblib, numpy, sklearn)] + [sys.base_prefix]))"
    )

    def asked(python: Path) -> list[list[str]]:
        done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True)
        *found, prefix = json.loads(done.stdout)
        assert Path(prefix).is_relative_to(lab.cache.root / "prefixes")
        return [[version, str(Path(file).is_relative_to(prefix))] for version, file in found]

    own = [["1.4.2", "False"], ["1.26.4", "True"], ["1.5.2", "True"]]
    assert asked(shop.child(shop.own, lab.folder).python) == own
    assert asked(shop.child(shop.converter, lab.folder).python) == own
    assert shop.converter.version("skl2onnx")
    assert shop.converter.version("scikit-learn") == "1.5.2"
    prefix = shop.python.executable.parent
    assert (prefix / "placed").read_text().splitlines()[0] in (f"#!{prefix}/python", "#!/usr/bin/env python")
    done = subprocess.run([prefix / "placed"], check=True, capture_output=True, env={"PATH": str(prefix)})
    assert done.stdout == b"placed\n"


# what can't be had; these pythons are empty files


@pytest.fixture
def small(here: World) -> Iterator[Small]:
    with serve_channel(here.folder / "channels") as channel:
        yield Small(here, channel)


class Small:
    """A world, and a channel; what is locked is not in the cache that `python` fills."""

    def __init__(self, here: World, channel: Channel) -> None:
        self.here, self.channel = here, channel
        self.context = Context(Cache(here.folder / "other"), here.environ)

    def package(self, *words: Any, **more: Any) -> None:
        self.channel.package(*words, **{"subdir": SUBDIR, **more})
        indexed(self.channel.folder)

    def python(self, *specs: str, platform: str = "") -> CondaPython:
        environment(self.here, self.channel, *specs, platform=platform)
        return conda_python(self.here.load(), self.context)


def test_an_environment_without_python(small: Small) -> None:
    small.package("alone", files={"share/alone": "x"})
    with pytest.raises(ModelError, match="has no python") as caught:
        small.python("alone")
    assert "environment.yml" in str(caught.value.hint)


def test_an_environment_of_another_machine(small: Small) -> None:
    far, platform = ("linux-aarch64", "linux/arm64") if SUBDIR == "linux-64" else ("linux-64", "linux/amd64")
    small.package("far", files={"share/far": "x"}, subdir=far)
    with pytest.raises(ModelError, match="isn't locked for it"):
        small.python("far", platform=platform)


def test_a_python_that_doesn_t_run_here(small: Small) -> None:
    small.package("python", "3.12.99", {"bin/python": (b"\x7fELF", 0o755)})
    with pytest.raises(ModelError, match=r"python 3\.12\.99 doesn't run on this machine"):
        small.python("python")


def test_an_old_python(small: Small) -> None:
    small.package("python", "3.8.20", {"bin/python": (b"\x7fELF", 0o755)})
    with pytest.raises(ModelError, match=r"the environment has 3\.8\.20"):
        small.python("python")


def test_a_package_with_too_little_room_leaves_nothing(small: Small) -> None:
    small.package("python", "3.11.9", {"bin/python": (b"\x7fELF", 0o755)})
    files = {"lib/narrow.so": "\x7fELF/opt/narrow/lib\0"}
    small.package("narrow", files=files, placeholder="/opt/narrow", depends=["python"])
    with pytest.raises(ArtifactError, match="was built for a prefix of 11 characters, too short"):
        small.python("narrow")
    assert list((small.context.cache.root / "prefixes").iterdir()) == []


def test_a_full_disk_leaves_nothing(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    small.package("python", "3.11.9", {"bin/python": (b"\x7fELF", 0o755)})
    monkeypatch.setattr("builder.pipeline.conda_pythons.extract", full)
    with pytest.raises(StoreError, match="No space left"):
        small.python("python")
    assert list((small.context.cache.root / "prefixes").iterdir()) == []


def test_it_is_unpacked_once(small: Small) -> None:
    small.package("python", "3.11.9", {"bin/python": (f'#!/bin/sh\nexec {sys.executable} "$@"\n'.encode(), 0o755)})
    site = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    files = {
        f"{site}/Flat_Buffers-24.3.dist-info/METADATA": "Metadata-Version: 2.1\nName: Flat_Buffers\nVersion: 24.3\n",
        f"{site}/old-1-final.egg-info": "Metadata-Version: 1.0\nName: old\nVersion: 1-final\n",
        f"{site}/nobody-1.dist-info/RECORD": "",
    }
    small.package("python-flatbuffers", "24.3", files)
    small.package("flatbuffers", "99", {"lib/libflatbuffers.so": "no Python at all"})
    first = small.python("python", "python-flatbuffers", "flatbuffers")
    assert [(one.name, one.version) for one in first.beneath] == [("flat-buffers", "24.3")]
    small.channel.requests.clear()
    assert conda_python(small.here.load(), small.context) == first
    assert small.channel.requests == []
