"""The virtual environment's skeleton, for the base that is put together from packages and for any other."""

from __future__ import annotations

from typing import Any

from builder.content import Digest
from builder.layers import venv
from builder.layers.recipe import Part
from tests.support.layers import layer_of


def skeleton(**params: Any) -> Part:
    return Part("venv", "venv", params={"python": "3.11", "full": "3.11.2"} | params)


def test_golden() -> None:
    """Part of every image's digest: it changes only with intent."""
    layer, data = layer_of("venv", venv.entries(skeleton()))
    assert layer.digest == Digest.of(data) == "sha256:e600c77f51588fb32f76ca12ebaf8ed35998671046abdc2196befa96a758809b"


def test_the_interpreter_of_a_base_image() -> None:
    found = {one.path: one for one in venv.entries(skeleton(interpreter="/usr/local/bin/python3.11", hide=False))}
    assert found["opt/venv/bin/python"].link == "/usr/local/bin/python3.11"
    assert found["opt/venv/pyvenv.cfg"].content == (
        b"home = /usr/local/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n"
    )
    assert f"opt/venv/{venv.OPAQUE}" not in found


def test_what_lies_below_is_hidden() -> None:
    found = {one.path for one in venv.entries(skeleton(interpreter="/usr/bin/python3.11", hide=True))}
    assert "opt/venv/.wh..wh..opq" in found
