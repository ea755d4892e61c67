from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from builder.content import Digest, Platform, canonical_json
from builder.errors import StoreError
from builder.image.config import Facts
from builder.image.diff import Change, Changes, Comparison, FileChange, compare
from builder.image.index import Plan
from builder.image.layer import files_of
from builder.image.render import render
from builder.layers import tar
from builder.layers.recipe import Layer
from builder.project import Project
from builder.registry.layout import Layout
from tests.support.images import plan_of, put_image, put_plan, small_image
from tests.support.layers import layer_of, put_layer

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
Holds = tuple[str, str]


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")


def project(**image: Any) -> Project:
    return Project.model_validate({"name": "churn", "version": "1.0", "image": image})


def package(store: Layout, kind: str, *holds: Holds, data: str = "") -> Layer:
    text = f"{holds}{data}"
    return put_layer(store, kind, [tar.file(f"opt/{holds[0][0]}", text.encode())], *holds)


def code(store: Layout, files: Mapping[str, str]) -> Layer:
    return put_layer(store, "code", [tar.file(f"app/{path}", text.encode()) for path, text in files.items()], ("c", ""))


def model(store: Layout, data: bytes) -> Layer:
    return put_layer(store, "model", [tar.file("app/m", data)], ("m.onnx", ""), compress=False)


def against(
    store: Layout, old: list[Layer], new: list[Layer], before: Project | None = None, after: Project | None = None
) -> Comparison:
    put_image(store, before or project(), old, "1.0")
    found = compare(plan_of(after or project(), new), store, "1.0")
    assert found is not None
    return found


def only(comparison: Comparison) -> Changes:
    [changes] = comparison.changes.values()
    return changes


def test_a_tag_that_is_not_there(store: Layout) -> None:
    assert compare(plan_of(project(), []), store, "1.0") is None


def test_the_same_image(store: Layout) -> None:
    layers = [package(store, "wheel", ("numpy", "2.1.3"))]
    found = against(store, layers, layers)
    assert not found
    assert not only(found)
    assert render(found) == f"no difference to 1.0 ({found.old.short})"


def test_packages(store: Layout) -> None:
    old = [
        package(store, "deb", ("libc6", "2.36"), ("zlib1g", "1.2")),
        package(store, "wheel", ("numpy", "2.1.2")),
        package(store, "wheel", ("gone", "1")),
        package(store, "wheel", ("a", "1"), ("b", "1")),
        package(store, "wheel", ("same", "1")),
    ]
    new = [
        package(store, "deb", ("libc6", "2.37"), ("zlib1g", "1.2")),
        package(store, "wheel", ("numpy", "2.1.3")),
        package(store, "wheel", ("came", "3")),
        package(store, "wheel", ("a", "1"), ("b", "2")),
        package(store, "wheel", ("same", "1"), data="other bytes"),
    ]
    found = against(store, old, new)
    assert only(found).debs == (Change("libc6", "2.36", "2.37"),)
    assert only(found).wheels == (
        Change("b", "1", "2"),
        Change("came", None, "3"),
        Change("gone", "1", None),
        Change("numpy", "2.1.2", "2.1.3"),
        Change("same", "1", "1"),
    )
    assert render(found).splitlines()[1:] == [
        "system packages",
        "  ~ libc6 2.36 → 2.37",
        "packages",
        "  ~ b 1 → 2",
        "  + came 3",
        "  - gone 1",
        "  ~ numpy 2.1.2 → 2.1.3",
        "  ~ same 1 (same version, other bytes)",
    ]


def test_files_of_the_code(store: Layout) -> None:
    old = [code(store, {"a.py": "1", "b.py": "22", "gone.py": "", "same.py": "x"})]
    new = [code(store, {"a.py": "2", "b.py": "333", "came.py": "1234", "same.py": "x"})]
    found = against(store, old, new)
    assert only(found).files == (
        FileChange("app/a.py", 1, 1),
        FileChange("app/b.py", 2, 3),
        FileChange("app/came.py", None, 4),
        FileChange("app/gone.py", 0, None),
    )
    assert render(found).splitlines()[1:] == [
        "files",
        "  ~ app/a.py (1 bytes)",
        "  ~ app/b.py (2 → 3 bytes)",
        "  + app/came.py (4 bytes)",
        "  - app/gone.py (0 bytes)",
    ]


def test_files_that_only_the_plan_knows(store: Layout) -> None:
    put_image(store, project(), [code(store, {"a.py": "1"})], "1.0")
    layer, data = layer_of("code", [tar.file("app/b.py", b"2")], ("c", ""))
    plan = plan_of(project(), [layer])
    assert not store.has_blob(layer.digest)
    found = compare(plan, store, "1.0", new_files=lambda digest: files_of([data]) if digest == layer.digest else None)
    assert found is not None
    assert only(found).files == (FileChange("app/a.py", 1, None), FileChange("app/b.py", None, 1))
    blind = compare(plan, store, "1.0")
    assert blind is not None
    [change] = only(blind).layers
    assert change.name == "code"


def test_models(store: Layout) -> None:
    found = against(store, [model(store, b"1" * 1000)], [model(store, b"2" * 5000)])
    [change] = only(found).models
    assert change.path == "m.onnx"
    assert change.new_size is not None
    assert change.old_size is not None
    assert change.new_size - change.old_size in range(3900, 4200)
    gone = compare(plan_of(project(), []), store, "1.0")
    assert gone is not None
    assert only(gone).models[0].new_size is None


def test_configuration(store: Layout) -> None:
    before = project(env={"A": "1", "B": "2"}, command=["python", "x y"], user=1000, ports=[80], labels={"team": "a"})
    after = project(env={"A": "1", "C": "3"}, command=["python", "-m", "z"], ports=[81], labels={"team": "b"})
    found = against(store, [], [], before, after)
    assert only(found).config == (
        Change("command", "python 'x y'", "python -m z"),
        Change("env B", "2", None),
        Change("env C", None, "3"),
        Change("label team", "a", "b"),
        Change("port 80/tcp", "open", None),
        Change("port 81/tcp", None, "open"),
        Change("user", "1000:1000", "65532:65532"),
    )
    assert "  ~ command=python 'x y' → python -m z" in render(found).splitlines()


def test_base_and_origin(store: Layout) -> None:
    old = Facts("churn", "1.0", revision="aaa", base="debian:bookworm")
    new = Facts("churn", "1.1", revision="bbb", base="debian:trixie", dirty=True)
    put_plan(store, plan_of(project(), [], old), "1.0")
    found = compare(plan_of(project(), [], new), store, "1.0")
    assert found is not None
    assert only(found).base == (Change("base", "debian:bookworm", "debian:trixie"),)
    assert only(found).config == ()
    assert found.origin == (
        Change("version", "1.0", "1.1"),
        Change("revision", "aaa", "bbb"),
        Change("uncommitted changes", None, "true"),
    )
    assert render(found).splitlines() == [
        f"1.0 ({found.old.short}) → {found.new.short}",
        "  ~ version=1.0 → 1.1",
        "  ~ revision=aaa → bbb",
        "  + uncommitted changes=true",
        "base",
        "  ~ base debian:bookworm → debian:trixie",
    ]


def platforms(store: Layout, amd64: list[Layer], arm64: list[Layer]) -> Plan:
    return plan_of(project(), {AMD64: amd64, ARM64: arm64})


def test_what_is_equal_on_all_platforms_is_said_once(store: Layout) -> None:
    old, new = package(store, "wheel", ("numpy", "1")), package(store, "wheel", ("numpy", "2"))
    put_plan(store, platforms(store, [old], [old]), "1.0")
    same = compare(platforms(store, [new], [new]), store, "1.0")
    assert same is not None
    assert render(same).splitlines()[1:] == ["packages", "  ~ numpy 1 → 2"]
    differ = compare(platforms(store, [new], [old]), store, "1.0")
    assert differ is not None
    assert render(differ).splitlines()[1:] == ["only linux/amd64:", "packages", "  ~ numpy 1 → 2"]
    fewer = compare(plan_of(project(), [old]), store, "1.0")
    assert fewer is not None
    assert fewer.removed == (ARM64,)
    assert render(fewer).splitlines()[1:] == ["  - platform linux/arm64"]


def test_nameless_layers(store: Layout) -> None:
    found = against(
        store, [package(store, "system", ("system", ""))], [package(store, "system", ("system", ""), data="x")]
    )
    [change] = only(found).layers
    assert change.name == "system"
    assert change.old is not None
    assert len(change.old) == 12


def test_a_long_list_is_cut(store: Layout) -> None:
    many = [code(store, {f"f{number:03}.py": "" for number in range(100)})]
    lines = render(against(store, [], many)).splitlines()
    assert len(lines) == 43
    assert lines[-1] == "  … and 60 more"


def test_json(store: Layout) -> None:
    found = against(store, [package(store, "wheel", ("numpy", "1"))], [package(store, "wheel", ("numpy", "2"))])
    document = json.loads(json.dumps(found.to_json()))
    assert document["tag"] == "1.0"
    assert document["platforms"]["linux/amd64"]["wheels"] == [{"name": "numpy", "old": "1", "new": "2"}]
    assert document["old"] == found.old


def test_an_image_of_another_tool(store: Layout) -> None:
    image = small_image(store)
    store.put_manifest(image.descriptor, image.data, tag="theirs")
    found = compare(plan_of(project(), [package(store, "wheel", ("numpy", "1"))]), store, "theirs")
    assert found is not None
    assert only(found).wheels == (Change("numpy", None, "1"),)
    assert [change.name for change in only(found).layers] == ["layer"]
    assert render(found)


def test_an_attestation_beside_the_images_is_no_image(store: Layout) -> None:
    plan = put_image(store, project(), [], "1.0")
    note = small_image(store, "note")
    store.put_manifest(note.descriptor, note.data)
    index = json.loads(plan.index)
    index["manifests"].append(note.descriptor.to_json() | {"platform": {"os": "unknown", "architecture": "unknown"}})
    data = canonical_json(index)
    from tests.support.images import blob

    store.put_manifest(blob(data, plan.descriptor.media_type), data, tag="noted")
    found = compare(plan, store, "noted")
    assert found is not None
    assert list(found.changes) == [AMD64]
    assert not only(found)
    assert render(found).endswith("the same content")


def test_an_incomplete_image(store: Layout) -> None:
    plan = put_image(store, project(), [], "1.0")
    store.delete(plan.images[0].config_descriptor.digest)
    with pytest.raises(StoreError, match="does not hold"):
        compare(plan, store, "1.0")
    store.delete(Digest(plan.images[0].descriptor.digest))
    with pytest.raises(StoreError, match="not in the store"):
        compare(plan, store, "1.0")


def test_jars_are_named_beside_packages(store: Layout) -> None:
    old = [package(store, "wheel", ("numpy", "2.1")), package(store, "jar", ("com.acme:churn", "1.0"))]
    new = [old[0], package(store, "jar", ("com.acme:churn", "1.1"))]
    comparison = against(store, old, new)
    assert only(comparison) == Changes(jars=(Change("com.acme:churn", "1.0", "1.1"),))
    assert "jars\n  ~ com.acme:churn 1.0 → 1.1" in render(comparison)
