"""The map of the code holds: imports point down, modules stay small, starting up stays cheap."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "builder"

STAGES = ("lock", "layers", "image", "registry", "deploy", "init", "models", "releases")

# A room may import the rooms of the rows above its own, and what EXCEPTIONS says.
ORDER = (
    ("errors",),
    ("content", "progress", "files", "templating", "complaints", "network", "parallel", "words"),
    ("http", "sections"),
    ("modelkeys", "datakeys", "javakeys"),
    ("stagekeys",),
    ("cache", "project", "git"),
    STAGES,
    ("work",),
    ("pipeline",),
    ("cli",),
    ("__main__",),
)
LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms}

# Stages don't import each other, but that some name the values of others.
EXCEPTIONS = {
    ("image", "layers"): {"builder.layers.gzip", "builder.layers.recipe", "builder.layers.tar"},
    ("image", "registry"): {"builder.registry.manifests", "builder.registry.store"},
    ("releases", "registry"): {
        "builder.registry.artifact",
        "builder.registry.manifests",
        "builder.registry.reference",
        "builder.registry.store",
    },
    ("lock", "registry"): {"builder.registry.manifests", "builder.registry.reference", "builder.registry.store"},
    ("deploy", "layers"): {"builder.layers.tar"},
    ("deploy", "registry"): {"builder.registry.manifests", "builder.registry.reference", "builder.registry.store"},
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if "_templates" not in path.parts}


def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(tree: ast.AST, *, at_import_only: bool = False) -> Iterator[str]:
    """The modules of ours that `tree` imports; inside functions too, unless `at_import_only`."""
    for node in ast.iter_child_nodes(tree):
        if at_import_only and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _for_types_only(node)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "builder")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module and node.module.partition(".")[0] == "builder":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield inner if inner in MODULES else node.module
        else:
            yield from imported(node, at_import_only=at_import_only)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_is_on_the_map() -> None:
    assert {room(module) for module in MODULES} - {""} - set(LEVELS) == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = room(module)
    for name in imported(parse(module)):
        other = room(name)
        if other in ("", own) or own == "":
            continue
        if own in STAGES and other in STAGES:
            assert name in EXCEPTIONS.get((own, other), set()), f"{module} imports {name}"
        else:
            assert LEVELS[other] < LEVELS[own], f"{module} imports {name}"


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: set(imported(parse(module), at_import_only=True)) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_small_and_say_what_they_are_for(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 400
    assert ast.get_docstring(parse(module))


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) != "cli"])
def test_only_the_command_line_prints(module: str) -> None:
    calls = [node.func for node in ast.walk(parse(module)) if isinstance(node, ast.Call)]
    assert "print" not in [call.id for call in calls if isinstance(call, ast.Name)]


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_exports_is_there(module: str) -> None:
    tree = parse(module)
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            assert set(ast.literal_eval(node.value)) - names == set()


# Half a second of other people's code that --help can do without.
HEAVY = {
    "pydantic",
    "rich",
    "httpx",
    "docker",
    "jinja2",
    "debian",
    "requests",
    "packaging",
    "pypi_simple",
    "pathspec",
    "deflate",
    "cryptography",
    "cyclonedx",
    "dask",
    "distributed",
    "tornado",
}


def modules_after(code: str) -> set[str]:
    """What is imported when `code` ran in a fresh interpreter."""
    report = "import json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stderr))


def test_help_loads_nothing_heavy() -> None:
    loaded = modules_after("from builder.cli.app import invoke\nassert invoke(['--help']) == 0")
    assert "builder.cli.app" in loaded
    assert loaded & HEAVY == set()


def test_templates_are_shipped_in_the_wheel() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert hatch["force-include"] == {"templates": "builder/_templates"}
    assert (ROOT / "templates" / "lockship.toml.j2").is_file()
