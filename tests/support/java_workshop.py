"""A JDK and Maven at work on exported packages, with a Maven repository that outlives the session."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.cache import Cache
from builder.models.consumers.java_text import cell
from builder.models.consumers.java_view import properties
from builder.models.contract import Contract, to_scalar
from builder.pipeline.context import Context
from builder.pipeline.exporting_java import Exported, Wishes, export_java
from builder.pipeline.packaging import converted_at

__all__ = ["Workshop", "named_properties", "workshop_in", "write_rows"]

SOURCES = Path(__file__).parent / "java"


@dataclass(frozen=True)
class Workshop:
    """`environ` sends Maven to `repository`; `cache` keeps both, and the compiled harness."""

    environ: Mapping[str, str]
    repository: Path
    cache: Cache

    def build(self, contract: Path) -> Exported:
        """The package of the model that `contract` lies beside, in ``java`` there, with its jar."""
        context = Context(self.cache, self.environ)
        return export_java(converted_at(contract), context, contract.with_name("java"), Wishes(build=True))

    def run(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the JDK, or Maven; both streams as text."""
        return subprocess.run(
            command, cwd=folder, env=dict(self.environ), capture_output=True, text=True, encoding="utf-8"
        )

    def runtime(self, release: str) -> Path:
        """The jar of an onnxruntime."""
        jar = f"com/microsoft/onnxruntime/onnxruntime/{release}/onnxruntime-{release}.jar"
        if not (self.repository / jar).is_file():
            wanted = f"com.microsoft.onnxruntime:onnxruntime:{release}"
            got = self.run("mvn", "-B", "-q", "dependency:get", f"-Dartifact={wanted}", "-Dtransitive=false")
            assert got.returncode == 0, got.stdout
        return self.repository / jar

    def compile(self, folder: Path, *sources: Path, classpath: str = "") -> Path:
        """Compile programs into `folder`."""
        made = self.run("javac", "-encoding", "UTF-8", "-cp", classpath, "-d", str(folder), *map(str, sources))
        assert made.returncode == 0, made.stderr
        return folder

    def harness(self) -> Path:
        """The classes that work with any model."""
        sources = [SOURCES / "Rows.java", SOURCES / "Scores.java"]
        folder = self.repository.with_name("java-harness")
        newest = max(source.stat().st_mtime for source in sources)
        if not (folder / "Scores.class").is_file() or (folder / "Scores.class").stat().st_mtime < newest:
            self.compile(folder, *sources)
        return folder

    def classpath(self, one: Exported, *first: Path) -> str:
        """What a program needs that uses the package; `first` comes before it."""
        assert one.jar is not None
        return os.pathsep.join(map(str, (*first, one.jar, self.runtime(one.project.onnxruntime))))


def workshop_in(cache: Cache, environ: Mapping[str, str]) -> Workshop:
    """With the Maven repository in `cache`, and everything else as `environ` has it."""
    repository = cache.root / "maven"
    # Maven lives for seconds: too short for the second compiler
    own = f"-Dmaven.repo.local={repository} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    options = f"{environ.get('MAVEN_OPTS', '')} {own}".strip()
    return Workshop({**environ, "MAVEN_OPTS": options, "LC_ALL": "C.UTF-8"}, repository, cache)


def write_rows(file: Path, contract: Contract, rows: Mapping[str, Any]) -> None:
    """Write rows, arrays by tensor's name, as ``Rows.java`` reads them."""
    columns = [rows[tensor.name][:, column].tolist() for tensor, column, _ in contract.features]
    lines = ("\t".join(cell(to_scalar(value)) for value in row) + "\n" for row in zip(*columns, strict=True))
    file.write_text("".join(lines), encoding="utf-8")


def named_properties(contract: Contract) -> list[str]:
    """The properties as ``Rows.java`` is told them."""
    return [f"{one.name}:{one.parameter}" for one in properties(contract)]
