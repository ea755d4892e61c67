"""``python -m bench.condas``: an environment locked by the built-in solver and by real conda, side by side.

The conda is the one that conda-lock's wheel carries (24.7.1, its classic solver).
Both lock the same environment file for two platforms, from a channel on this machine with several versions of each
package; in turns, each from nothing. What they choose must be the same.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from builder.content import Platform
from builder.lock.conda import resolve_conda
from builder.lock.conda_file import parse_conda_lock
from builder.lock.indexes import from_environment
from builder.progress import SILENT
from builder.project import load_project
from tests.support.conda import Channel, indexed, serve_channel
from tests.support.real_conda import real_conda

GLIBC = {Platform("linux", "amd64"): "2.36", Platform("linux", "arm64"): "2.36"}


def stocked(channel: Channel, packages: int) -> list[str]:
    """Fill the channel; the names that an environment asks for. Each package has three versions and a few needs."""
    for subdir in ("linux-64", "linux-aarch64"):
        for number in range(packages):
            needs = [f"p{other:02}" for other in {number // 2, number // 3, number * 2 // 3} if other < number]
            for version in ("1.0", "1.1", "2.0"):
                depends = [f"{one} >=1.1" if number % 3 else one for one in needs]
                depends.append("__glibc >=2.40" if version == "2.0" and number % 5 == 4 else "__glibc >=2.17")
                files = {f"share/p{number:02}.txt": f"{subdir} {version}\n"}
                channel.package(f"p{number:02}", version, files, subdir=subdir, depends=depends)
    indexed(channel.folder)
    return [f"p{number:02}" for number in range(packages * 2 // 3, packages)]


def locked(folder: Path, channel: Channel, names: list[str], solver: str, environ: Mapping[str, str]) -> str:
    """The text of conda-lock.yml."""
    folder.mkdir()
    wanted = "".join(f"  - {name}\n" for name in names)
    (folder / "environment.yml").write_text(f"channels:\n  - {channel.url}\ndependencies:\n{wanted}", encoding="utf-8")
    (folder / "lockship.toml").write_text(
        f'name = "demo"\nversion = "1"\n[python]\nconda = "environment.yml"\nsolver = "{solver}"\n', encoding="utf-8"
    )
    project = load_project(folder / "lockship.toml")
    indexes = from_environment(environ)
    return resolve_conda(project, GLIBC, existing=None, indexes=indexes, environ=environ, progress=SILENT).text


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packages", type=int, default=63)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serve_channel(Path(name) / "channels") as channel:
        folder = Path(name)
        solvers = {"the built-in solver": "rattler", "conda": str(real_conda(folder / "conda"))}
        names = stocked(channel, asked.packages)
        environ = {"PATH": os.environ["PATH"], "HOME": name, "PIP_CONFIG_FILE": os.devnull}
        times: dict[str, list[float]] = {label: [] for label in solvers}
        texts: dict[str, str] = {}
        for turn in range(asked.rounds):
            for label, solver in solvers.items():
                cache = {"LOCKSHIP_CACHE": f"{name}/cache-{turn}"}
                begun = time.perf_counter()
                texts[label] = locked(folder / f"{label[-6:]}-{turn}", channel, names, solver, environ | cache)
                times[label].append(time.perf_counter() - begun)
        ours, theirs = (re.sub(r"^#.*\n", "", text, flags=re.M) for text in texts.values())
        chosen = {label: parse_conda_lock(text) for label, text in texts.items()}
    if chosen["conda"] != chosen["the built-in solver"]:
        raise SystemExit("the solvers chose differently")
    counted = sum(len(pins) for pins in chosen["conda"].values())
    print(
        f"{counted} pins; conda-lock.yml is {'the same, byte for byte' if ours == theirs else 'not the same bytes'}.\n"
    )
    print("| locked by | seconds |")
    print("|---|--:|")
    for label, found in times.items():
        print(f"| {label} | {statistics.median(found):.1f} |")
    pairs = zip(times["conda"], times["the built-in solver"], strict=True)
    print(f"\n{statistics.median(their / our for their, our in pairs):.1f} times.")


if __name__ == "__main__":
    main()
