"""The real conda, to compare with: the one that conda-lock's wheel carries (24.7.1)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["real_conda"]

# What the conda in conda-lock's wheel imports beyond what conda-lock itself needs.
_CONDA = (
    "conda-lock==4.0.3", "pycosat", "ruamel.yaml", "boltons", "pluggy", "tqdm", "distro", "archspec", "requests",
    "conda-package-handling", "conda-package-streaming", "frozendict", "jsonpatch", "platformdirs", "setuptools",
)  # fmt: skip

# It looks some of its modules up by the name that it has at home.
_PROGRAM = """
import importlib, importlib.abc, importlib.util, os, sys

class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name.partition(".")[0] == "conda" else None

    def create_module(self, spec):
        return importlib.import_module(f"conda_lock._vendor.{spec.name}")

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Alias())
if __name__ == "__main__":
    os.environ["CONDA_SOLVER"] = "classic"
    from conda_lock._vendor.conda.cli import main
    sys.exit(main())
"""


def real_conda(folder: Path) -> Path:
    """The program `conda` in an environment of its own, made at `folder`; packages come from the index."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    words = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *_CONDA]
    subprocess.run(words, check=True)
    program = folder / "bin" / "conda"
    program.write_text(f"#!{folder}/bin/python\n{_PROGRAM}", encoding="utf-8")
    program.chmod(0o755)
    return program
