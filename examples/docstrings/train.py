"""Trains the model and writes `model.skops`, `data/train.csv` and `data/holdout.csv`.

The data is text that packages ship: the first paragraphs of the documentation of functions and classes in numpy,
pandas and scikit-learn (all BSD-3-Clause). The model tells which library a text is about, as a help desk would want
to know.
"""

from __future__ import annotations

import csv
import inspect
import re
from importlib import import_module
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline

HERE = Path(__file__).parent
MODULES = {
    "numpy": ("numpy", "numpy.linalg", "numpy.random", "numpy.fft"),
    "pandas": ("pandas", "pandas.DataFrame", "pandas.Series", "pandas.Index"),
    "scikit-learn": (
        "sklearn.cluster", "sklearn.decomposition", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics",
        "sklearn.model_selection", "sklearn.neighbors", "sklearn.preprocessing", "sklearn.svm", "sklearn.tree",
    ),
}  # fmt: skip


def texts(name: str) -> list[str]:
    """The first two paragraphs of what each public name of a module or class says of itself."""
    try:
        home = import_module(name)
    except ModuleNotFoundError:
        module, _, inner = name.rpartition(".")
        home = getattr(import_module(module), inner)
    found = set()
    for public in sorted(one for one in dir(home) if not one.startswith("_")):
        said = inspect.getdoc(getattr(home, public, None)) or ""
        paragraphs = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", said)[:2]]
        text = " ".join(part for part in paragraphs if "----" not in part and ">>>" not in part)
        if 30 <= len(text) <= 400:
            found.add(text)
    return sorted(found)


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and holdout rows: the text and its library."""
    rows = [(library, text) for library, names in MODULES.items() for name in names for text in texts(name)]
    table = pd.DataFrame(rows, columns=["library", "text"]).drop_duplicates("text")
    train, holdout = train_test_split(table, test_size=0.3, random_state=5, stratify=table["library"])
    return train.sort_index(), holdout.sort_index()


def fit(train: pd.DataFrame) -> Pipeline:
    """Words of two letters and more, whatever the alphabet."""
    words = TfidfVectorizer(max_features=1500)
    return make_pipeline(words, LogisticRegression(C=10, max_iter=1000)).fit(train["text"], train["library"])


def main(folder: Path = HERE) -> None:
    """Train, and write everything into `folder`."""
    train, holdout = split()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, table in (("train", train), ("holdout", holdout)):
        table.to_csv(folder / f"data/{name}.csv", index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)
    skops.io.dump(fit(train), folder / "model.skops")


if __name__ == "__main__":
    main()
