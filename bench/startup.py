"""``python -m bench.startup``: the ONNX-only image beside the full environment, from `docker run` to the last score.

Both images are made of examples/penguins: one as it is (`runtime = "onnx"`), one with scikit-learn, scipy and pandas,
which loads the original pipeline. Both score the same holdout rows from stdin, in turns; the scores must be equal.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from bench.engine import find_client

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "penguins"

_FULL = """
import csv, sys
import pandas as pd, skops.io
rows = pd.read_csv(sys.stdin, keep_default_na=False, na_values={name: [""] for name in %(numbers)r})
model = skops.io.load("model.skops", trusted=skops.io.get_untrusted_types(file="model.skops"))
features = rows[list(model.feature_names_in_)]
writer = csv.writer(sys.stdout, lineterminator="\\n")
writer.writerow(["row", "species", "probability"])
for number, (label, row) in enumerate(zip(model.predict(features), model.predict_proba(features)), 1):
    writer.writerow([number, label, f"{row.max():.4f}"])
"""
_NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def lockship(folder: Path, *words: str) -> str:
    """One command in a project; its stdout."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "builder", *words],
        cwd=folder,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.strip()


def projects(folder: Path) -> dict[str, Path]:
    """The two projects: the example, and the example with the environment that its model was trained in."""
    found = {name: folder / "examples" / name for name in ("onnx", "full")}
    for path in found.values():
        shutil.copytree(EXAMPLE, path, ignore=shutil.ignore_patterns(".lockship"))
    shutil.copy(EXAMPLE.parent / "packages.txt", folder / "examples")
    full = found["full"]
    (full / "score.py").write_text(_FULL % {"numbers": _NUMBERS})
    text = (full / "lockship.toml").read_text(encoding="utf-8").partition("[model]")[0]
    lines = [line for line in text.splitlines() if not line.startswith("runtime")]
    text = "\n".join(lines).replace('"score.py"]', '"score.py", "model.skops"]', 1) + "\n"
    text = text.replace('name = "penguins"', 'name = "penguins-full"')
    assert "runtime" not in tomllib.loads(text)["image"]
    (full / "lockship.toml").write_text(text, encoding="utf-8")
    return found


def loaded(folder: Path) -> str:
    """Lock, and load the image into the engine; its name there."""
    lockship(folder, "lock")
    lockship(folder, "load")
    project = tomllib.loads((folder / "lockship.toml").read_text(encoding="utf-8"))
    return f"{project['name']}:{project['version']}"


def timed(client: Sequence[str], image: str, rows: bytes, *command: str) -> tuple[float, bytes]:
    """Seconds from `docker run` to its end, and what it printed."""
    begun = time.perf_counter()
    done = subprocess.run([*client, "run", "--rm", "-i", image, *command], input=rows, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return time.perf_counter() - begun, done.stdout


def unpacked(client: Sequence[str], image: str) -> float:
    """The image's size in the engine, in megabytes."""
    words = [*client, "image", "inspect", "--format", "{{.Size}}", image]
    return int(subprocess.run(words, capture_output=True, check=True, text=True).stdout) / 1e6


def scores(text: bytes) -> list[tuple[str, float]]:
    """Label and probability of each row."""
    return [(row["species"], float(row["probability"])) for row in csv.DictReader(text.decode().splitlines())]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    client = [find_client(os.environ)]
    rows = (EXAMPLE / "data" / "holdout.csv").read_bytes()
    with tempfile.TemporaryDirectory() as name:
        images = {kind: loaded(folder) for kind, folder in projects(Path(name)).items()}
    times: dict[str, list[float]] = {kind: [] for kind in (*images, "nothing")}
    printed: dict[str, bytes] = {}
    for _ in range(rounds + 1):
        times["nothing"].append(timed(client, images["onnx"], b"", "python", "-I", "-S", "-c", "pass")[0])
        for kind, image in images.items():
            seconds, printed[kind] = timed(client, image, rows)
            times[kind].append(seconds)
    ours, theirs = scores(printed["onnx"]), scores(printed["full"])
    same = len(ours) == len(theirs) > 0 and all(
        one[0] == other[0] and abs(one[1] - other[1]) <= 2e-4 for one, other in zip(ours, theirs, strict=True)
    )
    if not same:
        raise SystemExit("the images do not give the same scores")
    middle = {kind: statistics.median(found[1:]) for kind, found in times.items()}  # the first run warms the disk
    own = middle["nothing"]
    print(
        f"| image | in the engine | `docker run` to the last of {len(ours)} scores | of that, beyond Python's start |"
    )
    print("|---|---|---|---|")
    for kind, label in (("onnx", "ONNX only"), ("full", "full environment")):
        size = unpacked(client, images[kind])
        print(f"| {label} | {size:.0f} MB | {middle[kind]:.2f} s | {middle[kind] - own:.2f} s |")
    whole, beyond = middle["full"] / middle["onnx"], (middle["full"] - own) / (middle["onnx"] - own)
    print(
        f"\nA container that starts Python and does nothing: {own:.2f} s. {whole:.1f} times, {beyond:.1f} beyond that."
    )


if __name__ == "__main__":
    main()
