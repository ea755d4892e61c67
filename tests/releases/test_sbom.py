"""Bills of materials: valid by CycloneDX's own schema, the same bytes each time, and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from builder.content import Digest
from builder.errors import LockshipError, VerificationError
from builder.releases.sbom import Component, Described, Kind, bill, package_url, read_bill

LAYER = str(Digest.of(b"layer"))
BASE = str(Digest.of(b"base"))
ABOUT = Described("churn", "1.4.0", "linux/amd64", Digest.of(b"manifest"), "2026-01-02T03:04:05Z")
COMPONENTS = [
    Component("python", "numpy", "2.1.3", "ab" * 32, 123, "numpy-2.1.3-cp311.whl", licence="BSD-3-Clause", layer=LAYER),
    Component("python", "zope-interface", "7.2", "ac" * 32, 5, "zope.whl", licence="Zope Public License, of its own"),
    Component(
        "deb", "libstdc++6", "12.2.0-14+deb12u1", "cd" * 32, 3, qualifiers={"arch": "amd64", "distro": "debian-12"}
    ),
    Component("deb", "libfoo1", "1:2.0~rc1-1", "ce" * 32, 3, qualifiers={"arch": "all", "distro": "debian-12"}),
    Component(
        "conda",
        "xgboost",
        "2.1",
        "ef" * 32,
        9,
        licence="MIT OR Apache-2.0",
        qualifiers={"channel": "main", "subdir": "linux-64"},
    ),
    Component("maven", "com.acme:churn:linux", "1.0", "1a" * 32, 4, qualifiers={"classifier": "linux", "type": "jar"}),
    Component("base", "docker.io/library/python", BASE, qualifiers={"repository_url": "docker.io/library/python"}),
    Component("system", "debian", "12"),
    Component("model", "churn", "1.4.0", "0f" * 32, 77, "churn.onnx", layer=LAYER),
    Component("file", "churn", "1.4.0", size=9, layer=str(Digest.of(b"code"))),
]


def document(components: list[Component] = COMPONENTS, about: Described = ABOUT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bill(about, components))
    return found


def entry(name: str, kind: str) -> Mapping[str, Any]:
    return next(
        one for one in document()["components"] if one["name"] == name and {"name": "lockship:kind", "value": kind}
        in one["properties"]
    )  # fmt: skip


def test_it_is_valid() -> None:
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill(ABOUT, COMPONENTS).decode())
    assert errors is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill(ABOUT, []).decode()) is None
    assert document()["specVersion"] == "1.6"


def test_the_same_values_give_the_same_bytes() -> None:
    first = bill(ABOUT, COMPONENTS)
    assert bill(ABOUT, COMPONENTS[::-1]) == first
    others = [
        bill(replace(ABOUT, digest=Digest.of(b"other")), COMPONENTS),
        bill(replace(ABOUT, platform="linux/arm64"), COMPONENTS),
        bill(ABOUT, COMPONENTS[1:]),
        bill(ABOUT, [replace(COMPONENTS[0], sha256="00" * 32), *COMPONENTS[1:]]),
    ]
    numbers = {json.loads(data)["serialNumber"] for data in (first, *others)}
    assert len(numbers) == 5
    assert json.loads(first)["metadata"]["timestamp"] == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        (COMPONENTS[0], "pkg:pypi/numpy@2.1.3"),
        (COMPONENTS[1], "pkg:pypi/zope-interface@7.2"),
        (COMPONENTS[2], "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"),
        (COMPONENTS[3], "pkg:deb/debian/libfoo1@1:2.0~rc1-1?arch=all&distro=debian-12"),
        (COMPONENTS[4], "pkg:conda/xgboost@2.1?channel=main&subdir=linux-64"),
        (COMPONENTS[5], "pkg:maven/com.acme/churn@1.0?classifier=linux&type=jar"),
        (COMPONENTS[6], f"pkg:oci/python@{BASE}?repository_url=docker.io/library/python"),
        (COMPONENTS[7], ""),
        (COMPONENTS[8], ""),
        (COMPONENTS[9], ""),
    ],
)
def test_package_urls(component: Component, expected: str) -> None:
    assert package_url(component) == expected


def test_each_thing_is_what_it_is() -> None:
    numpy = entry("numpy", "python")
    assert numpy["type"] == "library"
    assert numpy["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert numpy["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert entry("zope-interface", "python")["licenses"] == [{"license": {"name": "Zope Public License, of its own"}}]
    assert entry("xgboost", "conda")["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert entry("docker.io/library/python", "base")["type"] == "container"
    assert entry("debian", "system")["type"] == "operating-system"
    model = entry("churn", "model")
    assert (model["type"], model["hashes"][0]["content"]) == ("machine-learning-model", "0f" * 32)
    assert entry("churn", "file")["type"] == "file"
    about = document()["metadata"]["component"]
    assert about["hashes"] == [{"alg": "SHA-256", "content": ABOUT.digest.hex}]
    [needs] = [one for one in document()["dependencies"] if one["ref"] == about["bom-ref"]]
    assert len(needs["dependsOn"]) == len(COMPONENTS)


def test_it_is_read_back() -> None:
    about, listed = read_bill(bill(ABOUT, COMPONENTS))
    assert about == ABOUT.digest
    assert {(one.kind, one.name, one.version, one.sha256, one.layer) for one in listed} == {
        (one.kind, one.name, one.version, one.sha256, one.layer) for one in COMPONENTS
    }


def test_nothing_is_named_twice() -> None:
    with pytest.raises(LockshipError, match="twice"):
        bill(ABOUT, [COMPONENTS[0], replace(COMPONENTS[0], sha256="")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"bomFormat":"CycloneDX"}',
        b'{"bomFormat":"CycloneDX","metadata":{"component":7}}',
        b'{"bomFormat":"CycloneDX","metadata":{"component":{}},"components":[7]}',
        b'{"bomFormat":"SPDX","metadata":{"component":{}}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_bill(data: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        read_bill(data)
    assert caught.value.hint


KINDS: list[Kind] = ["python", "deb", "conda", "base", "system", "model", "file"]
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(st.lists(st.tuples(st.sampled_from(KINDS), TEXT, TEXT), unique_by=lambda one: (one[0], one[1].lower())))
def test_any_names_make_a_valid_bill(parts: list[tuple[Kind, str, str]]) -> None:
    components = [Component(kind, f"x{name}x", version) for kind, name, version in parts]
    try:
        data = bill(ABOUT, components)
    except LockshipError as error:
        assert "twice" in error.message  # names that are one in a package URL
        return
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    assert {(one.kind, one.name, one.version) for one in read_bill(data)[1]} == {
        (one.kind, one.name, one.version) for one in components
    }
