"""``python -m bench``: run the rows, print the table, write Markdown and JSON to ``bench/results``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.engine import Engine, find_client
from bench.measure import CommandError
from bench.report import markdown
from bench.rows import ROWS, Row
from bench.stage import Stage, say

RESULTS = Path(__file__).parent / "results"
_NO_ENGINE = {"memory", "startup", "model", "questions"}


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run; 0 when every row could be measured."""
    options = _options(arguments)
    names = list(ROWS) if options.only is None else options.only.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        say(f"unknown rows: {', '.join(unknown)}; there are {', '.join(ROWS)}")
        return 2
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(options.work))
        try:
            engine = None
            if set(names) - _NO_ENGINE:
                engine = _engine(stack, folder, environ)
            stage = Stage(folder, engine.environ if engine else environ, engine, 1 if options.quick else options.repeat)
            stage.prepare()
        except CommandError as error:
            say(f"error: {error}")
            return 1
        rows, failed = _measured(stage, names)
        text = _keep(stage, rows)
    sys.stdout.write(text)
    return 1 if failed else 0


def _keep(stage: Stage, rows: Sequence[Row]) -> str:
    """Write the results so far; the page."""
    facts = _facts(stage)
    text = markdown(rows, facts)
    RESULTS.mkdir(exist_ok=True)
    document = {"schema": "dev.lockship.bench/v1", "facts": facts, "rows": [row.to_json() for row in rows]}
    (RESULTS / "bench.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / "bench.md").write_text(text)
    return text


def _measured(stage: Stage, names: Sequence[str]) -> tuple[list[Row], bool]:
    """The rows, and whether some could not be measured: the others are worth keeping."""
    rows: list[Row] = []
    failed = False
    for name in names:
        say(f"{name} (load {os.getloadavg()[0]:.1f})")
        try:
            rows += ROWS[name](stage)
        except CommandError as error:
            say(f"error: {error}")
            failed = True
        _keep(stage, rows)
    return rows, failed


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", metavar="ROW,ROW", help=f"only these of: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="each once")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="how often each side runs [default: 5]")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep downloads and projects here for the next run")
    return parser.parse_args(arguments)


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        # stores of an earlier run would be found full; locks and downloads may stay
        for store in chosen.glob("*/.lockship"):
            shutil.rmtree(store)
        yield chosen.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="lockship-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _engine(stack: ExitStack, folder: Path, environ: Mapping[str, str]) -> Engine:
    """The engine that answers, or a private one; what is made in it is removed at the end."""
    from tests.support import engine as engines

    host = engines.find(environ)
    if host is None:
        if (obstacle := engines.can_start(environ)) is not None:
            raise CommandError(f"no Docker engine answers, and {obstacle}")
        host = stack.enter_context(engines.temporary_engine(environ))
    client = find_client({**environ, "DOCKER_HOST": host})
    engine = Engine(client, host, folder / "docker", environ)
    stack.callback(engine.close)
    return engine


def _facts(stage: Stage) -> dict[str, str]:
    """What the numbers depend on, and nothing that tells whose machine it was."""
    from builder import __version__

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    facts = {
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 1e9:.0f} GB",
        "system": f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, {platform.machine()}",
        "lockship": f"{__version__}, on CPython {platform.python_version()}",
        "example": f"{stage.facts['wheels']} wheels, {stage.facts['wheels size']}",
        "repetitions": str(stage.repeat),
    }
    if stage.engine is not None:
        facts["docker side"] = f"Docker engine {stage.engine.version}, BuildKit; {stage.facts.get('docker side', '')}"
    return facts


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # registries and images go away then, too
    sys.exit(main(sys.argv[1:], dict(os.environ)))
