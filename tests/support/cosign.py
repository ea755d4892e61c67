"""The real cosign, where somebody installed it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["cosign"]


def cosign(*words: str, cwd: Path, password: str = "") -> subprocess.CompletedProcess[str]:
    """Run cosign; skips the test where there is none on PATH.

    CI has none: building it from source takes minutes.
    """
    program = shutil.which("cosign")
    if program is None:
        pytest.skip("needs cosign on PATH: go install github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5")
    environ = {**os.environ, "HOME": str(cwd), "COSIGN_PASSWORD": password}
    return subprocess.run([program, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
