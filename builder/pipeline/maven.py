"""Maven projects with the JDK and the Maven of this machine: built, or only resolved."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.errors import ModelError, StoreError
from builder.lock.sources import strip_credentials
from builder.lock.tools import run_tool
from builder.progress import Progress

__all__ = ["Maven", "find_maven", "package", "said"]

_OLDEST: Final = 11  # Java's `--release 11` needs it
_SHOWN: Final = 8  # lines of Maven's own words in an error
_CLOSING: Final = ("[Help", "->", "To see", "Re-run", "See ", "Errors:", "Failures:", "For more information")


@dataclass(frozen=True, slots=True)
class Maven:
    """The program, or in `obstacle` why there is none to be had, in words."""

    program: str
    obstacle: str = ""


def find_maven(environ: Mapping[str, str], *, compiles: bool = True) -> Maven:
    """``mvn`` on PATH, with the JDK that it would take: JAVA_HOME's, else the one on PATH; without, any Java does."""
    program = shutil.which("mvn", path=environ.get("PATH"))
    if not compiles:
        return Maven(program) if program is not None else Maven("", "there is no Maven (mvn) on PATH")
    home = environ.get("JAVA_HOME")
    javac = shutil.which("javac", path=str(Path(home) / "bin") if home else environ.get("PATH"))
    if javac is None:
        return Maven("", f"there is no JDK in JAVA_HOME ({home})" if home else "there is no JDK on PATH")
    release = _release(javac, environ)
    if release is None or release < _OLDEST:
        return Maven("", f"{javac} is {'no JDK' if release is None else f'of JDK {release}'}, and {_OLDEST} is needed")
    if program is None:
        return Maven("", "there is no Maven (mvn) on PATH")
    return Maven(program)


def _release(javac: str, environ: Mapping[str, str]) -> int | None:
    """The major version: ``javac 17.0.2``, or ``javac 1.8.0_292``."""
    try:
        run = subprocess.run([javac, "-version"], env=dict(environ), capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"javac (?:1\.)?(\d+)", run.stdout + run.stderr)
    return int(found[1]) if found else None


def package(maven: Maven, folder: Path, environ: Mapping[str, str], progress: Progress) -> None:
    """Compile, test and pack the project in `folder`, as ``mvn package`` does.

    Raises ModelError when a test of the project fails, StoreError with Maven's own words when anything else does.
    """
    with progress.task("building with Maven: it compiles, and scores the golden rows", unit="steps"):
        try:
            outcome = run_tool(
                [maven.program, "--batch-mode", "--no-transfer-progress", "package"],
                environ=environ,
                folder=folder,
                timeout=None,
            )
        except OSError as error:
            raise StoreError(f"cannot start {maven.program}: {error.strerror}") from error
    if outcome.code == 0:
        return
    words = said(outcome.text)
    if re.search(r"Failed to execute goal \S*maven-surefire-plugin\S*:test", outcome.text) and "Tests run:" in words:
        raise ModelError(
            f"the model's own tests fail on this machine:\n{words}",
            file=folder,
            hint="see target/surefire-reports in it; --onnxruntime X.Y.Z takes another release",
        )
    raise StoreError(
        f"Maven failed:\n{words}",
        file=folder,
        hint="run `mvn package` there for the whole of it; behind a proxy or a mirror, Maven reads ~/.m2/settings.xml",
    )


def said(text: str) -> str:
    """The first lines that Maven marks as errors, without colours, credentials and its usual closing words."""
    plain = strip_credentials(re.sub(r"\x1b\[[0-9;]*m", "", text))
    errors = [line.removeprefix("[ERROR]").strip() for line in plain.splitlines() if line.startswith("[ERROR]")]
    useful = [line for line in dict.fromkeys(errors) if line and not line.startswith(_CLOSING)]
    return "\n".join(f"  {line}" for line in (useful or plain.splitlines()[-_SHOWN:])[:_SHOWN])
