"""Pipelines for CI providers, rendered for one project: check the lock, plan, build, verify; push, or release a tag."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from builder import git
from builder.errors import ProjectError, RefusedError, StoreError
from builder.files import named_output, write_file
from builder.lock.file import LOCK_FILE
from builder.pipeline.context import Context
from builder.project import GitVersion, Project
from builder.registry.reference import parse_repository
from builder.templating import render

__all__ = ["PROVIDERS", "Pipeline", "Provider", "Written", "export_ci", "pipeline_for", "render_pipeline"]

Provider = Literal["github", "gitlab", "jenkins", "azure"]
PROVIDERS: Final[tuple[Provider, ...]] = get_args(Provider)

_TEMPLATES: Final[Mapping[Provider, str]] = {
    "github": "ci/github.yml.j2",
    "gitlab": "ci/gitlab.yml.j2",
    "jenkins": "ci/jenkins.groovy.j2",
    "azure": "ci/azure.yml.j2",
}

# The image that jobs run in: Debian, whose apt serves the suite of the base, with git and a Python for Lockship.
_PYTHON: Final = "3.13"
_SUITES: Final = ("bookworm", "trixie")

_UNKNOWN: Final = "0+unknown"  # the version of a source tree that isn't installed


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a pipeline depends on.

    `folder` is the project's, relative to the root of the checkout (``.`` or ``services/churn``); `repository` and its
    `host` are where images are pushed; `branch` is the one that is pushed from, for the provider that can't tell;
    `from_git` says whether the version needs history and tags, `signs` whether releases are signed; `image` is what
    jobs run in; `lockship` the version to install, with `extras` and `drivers` beside it; `variables` are secrets that
    a release reads.
    """

    name: str
    folder: str
    repository: str
    host: str
    platforms: tuple[str, ...]
    branch: str
    from_git: bool
    signs: bool
    image: str
    lockship: str
    extras: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A rendered pipeline, and the file that holds it (None when none was asked for); `changed` by this call or not."""

    provider: Provider
    text: str
    file: Path | None
    changed: bool


def export_ci(
    project: Project, context: Context, provider: Provider, output: Path | None, *, lockship: str, force: bool = False
) -> Written:
    """Write the pipeline to `output`, or to the provider's usual place; ``-`` writes nothing.

    Raises RefusedError when the file is there with other content and not `force`, UsageError when it is a folder,
    ProjectError as `pipeline_for`.
    """
    pipeline, top = pipeline_for(project, context, lockship)
    if lockship == _UNKNOWN:
        context.progress.warn("this lockship has no version: the pipeline takes the newest release")
    text = render_pipeline(pipeline, provider)
    if output == Path("-"):
        return Written(provider, text, None, False)
    file = named_output(output or top / usual_file(project.name, provider), "--output")
    return Written(provider, text, file, _write(file, text.encode(), force=force))


def usual_file(name: str, provider: Provider) -> str:
    """Where `provider` looks for pipelines, relative to the root of the checkout."""
    return {
        "github": f".github/workflows/{name}.yml",
        "gitlab": ".gitlab-ci.yml",
        "jenkins": "Jenkinsfile",
        "azure": "azure-pipelines.yml",
    }[provider]


def pipeline_for(project: Project, context: Context, lockship: str) -> tuple[Pipeline, Path]:
    """What the pipelines of `project` depend on, and the root of its checkout.

    Raises ProjectError when there is no checkout, no repository to push to, or a folder that providers would misread.
    """
    if project.store.repository is None:
        raise ProjectError(
            "a pipeline pushes what it built, and the project doesn't say where",
            hint=f'add to it: [store] repository = "registry.example.com/team/{project.name}"',
            file=project.file,
        )
    root = project.root.resolve()
    top = git.top_folder(root, context.environ)
    if top is None:
        raise ProjectError(
            "pipelines run on a git repository, and this folder is in none", hint="run `git init` first", file=root
        )
    top = top.resolve()
    branch = git.default_branch(root, context.environ) or "main"
    repository = parse_repository(project.store.repository)
    pipeline = Pipeline(
        name=project.name,
        folder=_plain(root.relative_to(top).as_posix()),
        repository=str(repository),
        host=repository.host,
        platforms=tuple(str(one) for one in project.image.platforms),
        branch=branch if re.fullmatch(r"[A-Za-z0-9._/-]+", branch) else "main",
        from_git=isinstance(project.version, GitVersion),
        signs=project.signing is not None,
        image=_image(project.image.base),
        lockship=lockship,
        extras=_extras(project),
        drivers=_drivers(project),
        variables=_variables(project),
    )
    return pipeline, top


def _extras(project: Project) -> tuple[str, ...]:
    needed = {"conda": project.python.conda, "data": project.data, "database": project.database}
    return tuple(extra for extra, need in needed.items() if need)


def _drivers(project: Project) -> tuple[str, ...]:
    """What SQLAlchemy needs besides; of a URL that only the environment knows, the likeliest."""
    if project.database is None:
        return ()
    scheme = re.match(r"(?!env:|file:)[a-z]+", project.database.url)
    known = {"postgresql": "psycopg[binary]", "mysql": "pymysql", "mariadb": "pymysql"}
    driver = known["postgresql"] if scheme is None else known.get(scheme[0])
    return () if driver is None else (driver,)


def _variables(project: Project) -> tuple[str, ...]:
    url = "" if project.database is None else project.database.url
    return (url.removeprefix("env:"),) if url.startswith("env:") else ()


def _plain(folder: str) -> str:
    """`folder`, if every provider takes it as it is: they all expand ``$``, each by rules of its own."""
    if not folder.isprintable() or set(folder) & set("$\\"):
        raise ProjectError(
            f"the folder {folder!r} can't be named in a pipeline",
            hint="providers expand $ and \\ in values, and control characters end them: rename the folder",
        )
    return folder


def _image(base: str) -> str:
    suite = base.removeprefix("debian:")
    return f"docker.io/library/python:{_PYTHON}-{suite if suite in _SUITES else _SUITES[0]}"


def render_pipeline(pipeline: Pipeline, provider: Provider) -> str:
    """The provider's file."""
    place = "" if pipeline.folder == "." else f" in {pipeline.folder}"
    return render(
        _TEMPLATES[provider],
        {
            "heading": f"{pipeline.name}{place}, to {pipeline.repository}, for {' and '.join(pipeline.platforms)}",
            "name": pipeline.name,
            # never an option, whatever it is called
            "folder": "." if pipeline.folder == "." else f"./{pipeline.folder}",
            "lock_file": LOCK_FILE if pipeline.folder == "." else f"{pipeline.folder}/{LOCK_FILE}",
            "host": pipeline.host,
            "branch": pipeline.branch,
            "from_git": pipeline.from_git,
            "signs": pipeline.signs,
            "image": pipeline.image,
            "lockship": pipeline.lockship,
            "package": _package(pipeline),
            "drivers": "".join(f" '{driver}'" for driver in pipeline.drivers),
            "variables": pipeline.variables,
        },
    )


def _package(pipeline: Pipeline) -> str:
    """What pip is asked for."""
    extras = f"[{','.join(pipeline.extras)}]" if pipeline.extras else ""
    version = "" if pipeline.lockship == _UNKNOWN else f"=={pipeline.lockship}"
    return f"lockship{extras}{version}"


def _write(file: Path, data: bytes, *, force: bool) -> bool:
    """Whether anything had to be written."""
    try:
        there = file.read_bytes() if file.exists() else None
        if there == data:
            return False
        if there is not None and not force:
            raise RefusedError(
                "is there already, with other content",
                hint="name another file with --output, or replace it with --force",
                file=file,
            )
        write_file(file, data)
    except OSError as error:
        raise StoreError(
            f"cannot write: {error.strerror}", hint="name another file with --output", file=file
        ) from error
    return True
