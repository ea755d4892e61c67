"""The real cosign, where somebody installed it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.require import need

__all__ = ["cosign"]


def cosign(*words: str, cwd: Path, password: str = "") -> subprocess.CompletedProcess[str]:
    """Run cosign; skips the test where there is none on PATH, and no Go to build it with."""
    program = shutil.which("cosign")
    how = "go install github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5"
    if program is None and shutil.which("go") is None:
        pytest.skip(f"needs cosign on PATH: {how}, with a Go that is new enough")
    need("cosign", program, how)
    assert program is not None
    environ = {**os.environ, "HOME": str(cwd), "COSIGN_PASSWORD": password}
    return subprocess.run([program, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
