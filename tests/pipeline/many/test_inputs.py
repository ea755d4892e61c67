"""What a project is made from: globs fit as Python's own do, and folders hold what gets into the image."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from builder.layers.files import collect, excluded
from builder.pipeline.many.inputs import inputs_of
from builder.project import load_project

FILES = (
    "a.csv", "data/a.csv", "data/b.txt", "data/deep/a.csv", "data/deep/er/a.csv", "data/.hidden.csv",
    "data/.cache/a.csv", "data/a[1].csv", ".top/a.csv",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    ["*.csv", "data/*.csv", "data/*", "data/**/*.csv", "**/*.csv", "**", "data/**", "*/a.csv", "data/?.csv",
     "data/[ab].*", "data/.*", "data/.cache/*", "nothing/*.csv", "data/a[[]1].csv"],
)  # fmt: skip
def test_globs_of_data(root: Path, pattern: str) -> None:
    (root / "lockship.toml").write_text(f"name = 'x'\nversion = '1'\n[data]\ntraining = '{pattern}'\n")
    ((place, counts),) = inputs_of(load_project(root / "lockship.toml")).chosen
    real = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207  what is compared with
    expected = {path for path in real if (root / path).is_file()}
    found = {name for name in (*FILES, "lockship.toml") if counts(f"{root}/{name}")}
    assert place == os.path.realpath(root)
    assert found == expected


def test_what_stays_out_of_folders_is_what_collecting_leaves_out(root: Path) -> None:
    more = {
        ".gitignore": "*.log\nbuilt/\n!keep.log\n", ".dockerignore": "code/drafts\n", "code/x.log": "",
        "code/keep.log": "",
        "code/built/x.py": "", "code/drafts/x.py": "", "code/deep/x.py": "", "code/.env": "", "code/.env.example": "",
        "code/__pycache__/x.pyc": "", "code/node_modules/x.js": "", "code/id_rsa": "", "code/.hidden/x.py": "",
    }  # fmt: skip
    for name, text in more.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    out = excluded(root.resolve())
    taken = {entry.path for entry in collect(root, [("code", "/app/code")]).entries}
    for name in (name for name in more if name.startswith("code/")):
        assert out(root.resolve() / name) == (f"app/{name}" not in taken), name
