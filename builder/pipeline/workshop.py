"""Where a project's models are worked on: its Pythons, environments and children, each made when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from builder.lock import indexes
from builder.lock.indexes import Indexes
from builder.models.children import Child
from builder.models.environments import Environment
from builder.models.runtimes import Consumer
from builder.pipeline.conda_pythons import CondaPython, conda_python
from builder.pipeline.context import Context
from builder.pipeline.environments import converter_environment, make_environment, project_environment
from builder.pipeline.interpreters import HostPython, find_python, others
from builder.pipeline.runtimes import Runtime, runtime_for
from builder.project import Project

__all__ = ["Workshop"]


@dataclass
class Workshop:
    """Environments of `project` on this machine; what is in the cache needs no network."""

    project: Project
    context: Context
    _made: dict[str, Path] = field(default_factory=dict)
    _found: list[HostPython] = field(default_factory=list)
    _searched: bool = False

    @cached_property
    def indexes(self) -> Indexes:
        """Those that the user's pip or uv is configured with."""
        return indexes.from_environment(self.context.environ)

    @cached_property
    def _conda(self) -> CondaPython | None:
        """The conda environment, for a project that has one."""
        return conda_python(self.project, self.context) if self.project.python.conda else None

    @cached_property
    def python(self) -> HostPython:
        """The project's Python on this machine."""
        if self._conda is not None:
            return self._conda.python
        return find_python(self.project.python.version, self.context, self.indexes)

    @cached_property
    def own(self) -> Environment:
        """The project's locked environment."""
        return project_environment(self.project, self.python, self._conda)

    @cached_property
    def converter(self) -> Environment:
        """The converter's environment."""
        return converter_environment(self.project, self.python, self._conda)

    def runtime(self, consumer: Consumer) -> Runtime:
        """The environment that stands for `consumer`."""
        return runtime_for(consumer, self.python, self._others, self.context, self.indexes)

    def child(self, environment: Environment, folder: Path, python: HostPython | None = None) -> Child:
        """Runs jobs of the work folder `folder` in `environment`."""
        if environment.key not in self._made:
            made = make_environment(environment, python or self.python, self.context, self.indexes)
            self._made[environment.key] = made
        return Child(self._made[environment.key], folder, environment.title, self.context.environ)

    def _others(self) -> Iterator[HostPython]:
        """This machine's other Pythons, looked for once."""
        yield from self._found
        if not self._searched:
            for one in others(self.python.target.minor, self.context, self.indexes):
                if one not in self._found:
                    self._found.append(one)
                    yield one
            self._searched = True
