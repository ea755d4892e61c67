"""Jars in layers: as they are, in a plain tar."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import MEDIA_LAYER_TAR, Digest
from builder.errors import ArtifactError
from builder.layers.make import make
from builder.layers.recipe import Part, Recipe


def jar(folder: Path, name: str, text: str = "") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), text)
    return path


def part(cache: Cache, path: Path, *, folder: str = "/app/lib") -> Part:
    return Part("jar", f"com.acme:{path.stem}", "1.0", cache.adopt(path), path.name, {"folder": folder})


def test_one_jar_one_layer_as_it_is(cache: Cache, tmp_path: Path) -> None:
    path = jar(tmp_path, "churn-1.0.jar", "hello")
    layer = make(Recipe((part(cache, path),)), cache.root, None)
    assert layer.media_type == MEDIA_LAYER_TAR
    assert layer.digest == layer.diff_id
    blob = cache.blob(layer.digest)
    assert blob is not None
    with tarfile.open(blob, "r:") as archive:
        assert archive.getnames() == ["app", "app/lib", "app/lib/churn-1.0.jar"]
        found = archive.extractfile("app/lib/churn-1.0.jar")
        assert found is not None
        assert found.read() == path.read_bytes()
        assert archive.getmember("app/lib/churn-1.0.jar").mode == 0o644


def test_the_bytes_are_fixed(cache: Cache, tmp_path: Path) -> None:
    """They are part of every image's digest: they change only with intent."""
    layer = make(Recipe((part(cache, jar(tmp_path, "churn-1.0.jar", "hello")),)), cache.root, None)
    assert layer.digest == Digest.from_hex("3abb539fabed472728fdb5865dfe3b65b616befdb1bb40a5318a2bda6fb26627")


def test_several_jars_share_a_layer_where_there_are_many(cache: Cache, tmp_path: Path) -> None:
    parts = tuple(part(cache, jar(tmp_path, f"{name}.jar", name)) for name in ("a", "b"))
    layer = make(Recipe(parts), cache.root, None)
    assert layer.holds == (("com.acme:a", "1.0"), ("com.acme:b", "1.0"))


def test_another_folder_is_another_layer(cache: Cache, tmp_path: Path) -> None:
    path = jar(tmp_path, "churn-1.0.jar")
    one, other = (Recipe((part(cache, path, folder=folder),)) for folder in ("/app/lib", "/opt/jars"))
    assert one.key != other.key
    assert make(one, cache.root, None).digest != make(other, cache.root, None).digest


def test_what_is_no_jar_is_refused(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "page.jar").write_text("<html>log in first</html>")
    with pytest.raises(ArtifactError, match=r"page\.jar is no jar"):
        make(Recipe((part(cache, tmp_path / "page.jar"),)), cache.root, None)
