"""What the documentation names is there, and what is there is documented."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from builder import datakeys, errors, javakeys, modelkeys, project, stagekeys
from builder.templating import toml

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("examples/*/*.md")),
]


def tables(page: str) -> dict[str, list[list[str]]]:
    """The rows of each Markdown table on a page, by the heading above it."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not line.startswith("|---"):
            found.setdefault(heading, []).append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_error_has_its_exit_code_in_the_table() -> None:
    documented = {int(row[0]) for row in tables("docs/exit-codes.md")["Exit codes"] if row[0].isdigit()}
    used = {getattr(errors, name).exit_code for name in errors.__all__}
    assert documented == used | {0, 130, 141}


_TABLES = (
    "root", "file", "python", "image", "model", "models", "store", "data", "database", "signing", "stages",
    "retention", "java",
)  # fmt: skip
"""Fields that are tables of their own, or no keys at all."""

SECTIONS = {
    "Top level": project.Project,
    "`[python]`": project.Python,
    "`[image]`": project.Image,
    "`[[image.sources]]`": project.Source,
    "`[model]`, `[models.NAME]`": project.Model,
    "`[model.inputs]`": modelkeys.Column,
    "`[java]`": javakeys.Java,
    "`[store]`": project.StoreSection,
    "`[signing]`": project.Signing,
    "`[data]`": datakeys.Data,
    "`[database]`": datakeys.DatabaseSection,
    "`[stages.NAME]`": stagekeys.Stage,
    "`[stages.NAME.deploy]`": stagekeys.Deploy,
    "`[stages.NAME.deploy.health]`": stagekeys.Health,
    "`[retention]`": project.Retention,
}


def documented_keys(model: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
    """The keys of a section, with their default as TOML writes it (None where words say it); no sections within."""
    for name, field in model.model_fields.items():
        if name == "sources" or (model is project.Project and name in _TABLES):
            continue
        default = field.get_default(call_default_factory=True)
        if field.is_required() or default in (None, (), {}) or isinstance(default, BaseModel):
            yield field.alias or name, None
        elif name == "platforms":
            yield name, toml([str(platform) for platform in default])
        else:
            yield field.alias or name, toml(default)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_documented_with_its_default(heading: str) -> None:
    rows = {row[0].strip("`"): row[2] for row in tables("docs/project-file.md")[heading][1:]}
    keys = dict(documented_keys(SECTIONS[heading]))
    assert sorted(rows) == sorted(keys)
    for key, default in keys.items():
        assert default is None or rows[key] == f"`{default}`", key


def test_the_project_file_on_the_page_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs/project-file.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "lockship.toml").write_text(block)
    assert project.load_project(tmp_path / "lockship.toml").name == "churn"


def test_commands_on_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    app = "".join((ROOT / "builder/cli" / name).read_text() for name in ("app.py", "releases.py"))
    commands = set(re.findall(r"(?m)^def (\w+)\(", app)) | {"init", "export", "import", "keys", "packages"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"`make ([a-z-]+)", text) + re.findall(r"(?m)^\$ make ([a-z-]+)", text):
            assert re.search(rf"(?m)^{target}:", makefile), f"make {target}"
        for command in re.findall(r"`lockship ([a-z]+)", text) + re.findall(r"(?m)^\$ lockship ([a-z]+)", text):
            assert command in commands or f"_{command}" in app, f"lockship {command}"
