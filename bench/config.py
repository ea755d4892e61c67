"""The package index that this machine is configured with, in the words of pip and of uv."""

from __future__ import annotations

import json
from collections.abc import Mapping

from builder.lock import indexes

__all__ = ["index_configuration"]


def index_configuration(environ: Mapping[str, str]) -> tuple[str, str]:
    """Texts of a pip.conf and a uv.toml. They may hold credentials: secrets of a build, never files of an image."""
    found = indexes.from_environment(environ)
    pip = ["[global]", f"index-url = {found.default}"] if found.default else ["[global]", "no-index = true"]
    if found.extra:
        pip.append("extra-index-url = " + " ".join(found.extra))
    uv = []
    for url in found.extra:
        uv += ["[[index]]", f"url = {json.dumps(url)}"]
    if found.default:
        uv += ["[[index]]", f"url = {json.dumps(found.default)}", "default = true"]
    return "\n".join(pip) + "\n", "\n".join(uv) + "\n"
