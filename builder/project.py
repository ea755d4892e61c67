"""`lockship.toml` (or `[tool.lockship]` in pyproject.toml) to a validated, frozen `Project`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from builder.complaints import explain, unknown_key
from builder.content import Platform
from builder.datakeys import Data, DatabaseSection, DataField, DataName
from builder.errors import LockshipError, ProjectError
from builder.javakeys import Java
from builder.modelkeys import Model
from builder.sections import Absolute, Inside, Section, matching
from builder.stagekeys import Stage, StageName

__all__ = [
    "Data",
    "DatabaseSection",
    "FileMapping",
    "Image",
    "Java",
    "Model",
    "Project",
    "Python",
    "Retention",
    "Signing",
    "StoreSection",
    "find_project",
    "load_project",
    "project_inputs",
]

PROJECT_FILE = "lockship.toml"
_OURS: Final = ("root", "file")  # fields of Project that no file may set

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")  # OCI distribution spec: a repository's path component
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # OCI distribution spec: a tag


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name is lower-case letters, digits and single . _ - between them, as in image names")
    return value


def _check_version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError("a version becomes an image tag: letters, digits, . _ - and at most 128 of them")
    return value


def _platform(value: object) -> object:
    if isinstance(value, str):
        try:
            return Platform.parse(value)
        except LockshipError as error:
            raise ValueError(f"{error.message}: {error.hint}") from error
    return value


def _file(value: object) -> object:
    """``"churn/"`` is short for ``{ source = "churn/" }``."""
    return {"source": value} if isinstance(value, str) else value


def _several(value: object) -> object:
    """``"environment.yml"`` is short for a list of one."""
    return [value] if isinstance(value, str) else value


def _shell(value: object) -> object:
    if isinstance(value, str):
        raise ValueError('a command is a list of words, like ["python", "-m", "churn"]; no shell takes it apart')
    return value


Minor = Annotated[str, matching(r"3\.\d+", 'a version of Python is written like "3.11"')]
DebianName = Annotated[str, matching(r"[a-z0-9][a-z0-9+.-]+", "not the name of a Debian package")]
Variable = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "not the name of an environment variable")]
WebAddress = Annotated[
    str, matching(r"https?://[^@\s]+", "a web address starts with https:// and holds no credentials")
]
RepositoryName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+|\[[0-9a-f:]+\](:\d+)?(/[a-z0-9._-]+)+",
        "a repository is written like registry.example.com/ml/churn, without https://, tag or credentials",
    ),
]
HostName = Annotated[
    str, matching(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-f:]+\](:\d+)?", "a host is written like registry.lab:5000")
]
OtherProject = Annotated[
    str,
    matching(r"(?![/~])[^\\\0]+", 'another project is named by the path to its folder from here, like "../features"'),
]
ModelName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a model's name becomes a file's: letters, digits, . _ -")
]
VirtualPackage = Annotated[
    str, matching(r"(__)?[a-z][a-z0-9_]*", "a virtual package is called like cuda or __cuda, in small letters")
]
VirtualVersion = Annotated[
    str, matching(r"[A-Za-z0-9_.+-]+( [A-Za-z0-9_.+-]+)?", 'a virtual package\'s version is written like "12.4"')
]
CondaName = Annotated[str, matching(r"[a-z0-9_][a-z0-9_.-]*", "not the name of a conda package")]
PlatformField = Annotated[Platform, BeforeValidator(_platform)]


class GitVersion(Section):
    """``version = { git = true }``: the version is what ``git describe`` says."""

    git: Literal[True]


class Python(Section):
    """`[python]`: the interpreter and what is installed for it.

    `requirements` are files relative to the project: ``.in``, ``.txt``, or ``pyproject.toml`` with extras in
    brackets. `constraints` may lie outside the project. `allow_build` names packages that may be built from source.

    `conda` are environment files, instead of requirements; `solver` chooses their packages, ``rattler`` or a program:
    conda, mamba or micromamba by name or path. `virtual_packages` say what the machines that run the image have.
    `skip_scripts` names packages whose installation scripts may be left out: none is ever run.
    """

    version: Minor = "3.11"
    requirements: tuple[Inside, ...] = ()
    constraints: tuple[str, ...] = ()
    resolver: Literal["uv", "pip-tools"] = "uv"
    allow_build: tuple[str, ...] = Field(default=(), alias="allow-build")
    bytecode: bool = True
    conda: Annotated[tuple[Inside, ...], BeforeValidator(_several)] = ()
    solver: Annotated[
        str, matching(r"rattler|(.*/)?(conda|mamba|micromamba)", "a solver is rattler, conda, mamba or micromamba")
    ] = "rattler"
    virtual_packages: dict[VirtualPackage, VirtualVersion] = Field(default_factory=dict, alias="virtual-packages")
    skip_scripts: tuple[CondaName, ...] = Field(default=(), alias="skip-scripts")

    @model_validator(mode="after")
    def _conda_alone(self) -> Self:
        if self.conda and self.requirements:
            raise ValueError(
                "either requirements or conda: what pip installs stands in the pip section of the environment"
            )
        if self.conda and self.constraints:
            raise ValueError("constraints bound requirements; an environment file says its versions itself")
        for key in ("solver", "virtual_packages", "skip_scripts"):
            if key in self.model_fields_set and not self.conda:
                raise ValueError(f'{key.replace("_", "-")} is for conda environments: conda = "environment.yml"')
        return self


class FileMapping(Section):
    """A file or folder of the project and where it goes; without `target`, below ``/app`` at its own path."""

    source: Inside
    target: Absolute | None = None

    @property
    def destination(self) -> str:
        """The absolute path in the image."""
        if self.target:
            return self.target.rstrip("/") or "/"
        inner = "/".join(part for part in self.source.split("/") if part not in ("", "."))
        return f"/app/{inner}".rstrip("/")


class Source(Section):
    """`[[image.sources]]`: one apt repository. `{suite}` in `suites` stands for the base's suite."""

    uri: str
    suites: tuple[str, ...] = ("{suite}",)
    components: tuple[str, ...] = ("main",)
    keyring: str | None = None


class Image(Section):
    """`[image]`: the base, the OS packages, the code and how it starts.

    `runtime` says which of the locked packages get in: all (``python``), or what runs ONNX models (``onnx``).
    """

    base: str = "debian:bookworm"
    runtime: Literal["python", "onnx"] = "python"
    packages: tuple[DebianName, ...] = ()
    platforms: tuple[PlatformField, ...] = Field(default=(Platform("linux", "amd64"),), min_length=1)
    files: tuple[Annotated[FileMapping, BeforeValidator(_file)], ...] = ()
    command: Annotated[tuple[str, ...], BeforeValidator(_shell)] = ("python",)
    entrypoint: Annotated[tuple[str, ...], BeforeValidator(_shell)] = ()
    env: dict[Variable, str] = Field(default_factory=dict)
    user: Annotated[int, Field(ge=0, le=2**31 - 1)] = 65532
    workdir: Absolute = "/app"
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    snapshot: str | None = None


class StoreSection(Section):
    """`[store]`: where images go. Without `repository`, the layout ``.lockship/store``.

    `shared` are repositories of the same registry whose layers may be mounted instead of sent; `plain_http` are hosts
    (with ports) that may be spoken to without TLS.
    """

    repository: RepositoryName | None = None
    shared: tuple[RepositoryName, ...] = ()
    plain_http: tuple[HostName, ...] = Field(default=(), alias="plain-http")


class Signing(Section):
    """`[signing]`: the file of the public key that releases are signed with; the private one is never named here."""

    key: Inside


class Retention(Section):
    """`[retention]`: how many releases are kept, the newest, and for how many days each is.

    Whatever stages have, and had last, is kept besides.
    """

    keep: Annotated[int, Field(ge=1, le=100_000)] = 10
    keep_days: Annotated[int, Field(ge=0, le=100_000)] = Field(default=90, alias="keep-days")


class Project(Section):
    """A project: a folder with a `lockship.toml`.

    `depends_on` are folders of projects that come first where several are built; the image doesn't depend on it.
    `source` is the web address of the code's repository; written down, not taken from git, because a clone's remote
    differs between machines and the image must not. `root` is the folder, `file` the project file; all other paths
    are as written, relative to `root`.
    """

    name: Annotated[str, AfterValidator(_check_name)]
    version: Annotated[str, AfterValidator(_check_version)] | GitVersion
    source: WebAddress | None = None
    depends_on: tuple[OtherProject, ...] = Field(default=(), alias="depends-on")
    python: Python = Python()
    image: Image = Image()
    model: Model | None = None
    models: dict[ModelName, Model] = Field(default_factory=dict)
    java: Java | None = None
    store: StoreSection = StoreSection()
    data: dict[DataName, DataField] = Field(default_factory=dict)
    database: DatabaseSection | None = None
    signing: Signing | None = None
    stages: dict[StageName, Stage] = Field(default_factory=dict)
    retention: Retention | None = None
    root: Path = Path()
    file: Path = Path(PROJECT_FILE)

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        for name, stage in self.stages.items():
            if stage.after is not None and (stage.after == name or stage.after not in self.stages):
                raise ValueError(f"stages.{name}: after = {stage.after!r} is no other stage of this file")
            if stage.signed and self.signing is None:
                raise ValueError(f'stages.{name}: signed = true needs a [signing] section with key = "cosign.pub"')
        return self

    def path(self, relative: str) -> Path:
        """`relative` as a path of this machine."""
        return self.root / relative

    @property
    def named_models(self) -> tuple[tuple[str, Model], ...]:
        """`[model]` first, under the project's name, then `[models.NAME]` by name."""
        single = () if self.model is None else ((self.name, self.model),)
        return single + tuple((name, self.models[name]) for name in sorted(self.models))

    @property
    def all_models(self) -> tuple[Model, ...]:
        """The models alone, in the order of `named_models`."""
        return tuple(model for _, model in self.named_models)

    @property
    def display(self) -> Path:
        """The project file as errors name it."""
        return self.file

    def with_version(self, version: str) -> Self:
        """The same project with a version that was found out (git)."""
        return self.model_copy(update={"version": version})


def find_project(start: Path) -> Path:
    """The project file for `start`: itself, or the one in it, or in the nearest folder above (as git and uv do).

    Raises ProjectError when there is none.
    """
    if start.is_file():
        return start
    if not start.is_dir():
        raise ProjectError(f"no such folder: {start}", hint="name a project's folder or its lockship.toml")
    # "..", taken literally, would lead back here; behind a link it leads to where the system says
    here = start.resolve() if ".." in start.parts else start.absolute()
    for folder in (here, *here.parents):
        candidate = folder / PROJECT_FILE
        if candidate.is_file():
            return candidate
        pyproject = folder / "pyproject.toml"
        if pyproject.is_file() and _has_table(pyproject):
            return pyproject
    raise ProjectError(
        f"no {PROJECT_FILE} in {start} or above", hint="run `lockship init` to write one that fits this folder"
    )


def load_project(file: Path) -> Project:
    """Read and validate; raises ProjectError with file and line for the first thing that is wrong."""
    text = _read(file)
    try:
        document: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise ProjectError(
            f"not valid TOML: {error}",
            file=file,
            line=int(line[1]) if line else text.count("\n") + 1,
            hint="TOML's rules are at https://toml.io; docs/project-file.md shows every key",
        ) from error
    prefix: tuple[str, ...] = ()
    inherited: dict[str, Any] = {}
    if file.name == "pyproject.toml":
        prefix = ("tool", "lockship")
        tables = document
        document = _table(_table(tables, "tool"), "lockship")
        if document is None:
            raise ProjectError("has no [tool.lockship] table", file=file, hint="run `lockship init` in its folder")
        # what pyproject.toml says already need not be said twice
        metadata = _table(tables, "project") or {}
        inherited = {key: metadata[key] for key in ("name", "version") if key in metadata and key not in document}
    if wrong := next((key for key in _OURS if key in document), None):
        raise unknown_key(Project, (wrong,), text, file, prefix, hidden=_OURS)
    try:
        return Project.model_validate(
            {**inherited, **document, "root": file.parent, "file": file}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        raise explain(error, Project, text, file, prefix, inherited, hidden=_OURS) from error


def _table(document: Any, key: str) -> Any:
    """The table under `key`, or None when there is none."""
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else None


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ProjectError(f"cannot read: {error.strerror}", file=file) from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ProjectError(
            "is not UTF-8", file=file, line=line, hint="save the file as UTF-8; TOML allows nothing else"
        ) from error


def _has_table(pyproject: Path) -> bool:
    try:
        return _table(_table(tomllib.loads(pyproject.read_text(encoding="utf-8")), "tool"), "lockship") is not None
    except (OSError, ValueError):
        return False


def project_inputs(project: Project) -> Mapping[str, Any]:
    """What in the project file decides the lock, as JSON values by the key's name."""
    inputs = {f"[python] {key}": value for key, value in project.python.model_dump(mode="json", by_alias=True).items()}
    if not project.python.conda:  # locks from before there were environments still fit
        for key in ("conda", "solver", "virtual-packages", "skip-scripts"):
            del inputs[f"[python] {key}"]
    image = project.image.model_dump(mode="json")
    for key in ("base", "sources", "snapshot"):
        inputs[f"[image] {key}"] = image[key]
    inputs["[image] packages"] = sorted(project.image.packages)
    inputs["[image] platforms"] = sorted(str(platform) for platform in project.image.platforms)
    if project.image.runtime != "python":  # locks from before there was a choice still fit
        inputs["[image] runtime"] = project.image.runtime
    if project.java is not None:
        inputs |= {f"[java] {key}": value for key, value in project.java.model_dump(mode="json").items()}
    return inputs
