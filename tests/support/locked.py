"""A project with models, locked against the real package index: scikit-learn, pandas, skops."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from builder.cache import Cache
from builder.pipeline.context import Context
from builder.pipeline.workshop import Workshop
from tests.support.apt_repository import Key
from tests.support.world import World, world

__all__ = ["TRAIN", "Locked", "locked"]

REQUIREMENTS: Final = "scikit-learn\npandas\nskops\n"

TRAIN: Final = """\
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def data():
    rng = np.random.default_rng(0)
    n = 900
    table = pd.DataFrame({
        "tenure": rng.integers(0, 72, n).astype(float),
        "Monthly Charges": rng.normal(60, 20, n).round(2),
        "contract": rng.choice(["month", "year", "zwei Jahre"], n),
    })
    table.loc[::17, "tenure"] = np.nan
    risk = table["Monthly Charges"] / 60 - table["tenure"].fillna(30) / 40 + (table["contract"] == "month")
    return table, np.where(risk + rng.normal(0, 0.5, n) > 1, "leaves", "stays")


def pipeline(last):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    steps = [("n", numbers, ["tenure", "Monthly Charges"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["contract"])]
    table, label = data()
    return make_pipeline(ColumnTransformer(steps), last).fit(table[:600], label[:600])


def linear():
    return pipeline(LogisticRegression())


def boosted():
    return pipeline(GradientBoostingClassifier(n_estimators=40, random_state=0))


if __name__ == "__main__":
    import pickle

    import skops.io

    skops.io.dump(linear(), "linear.skops")
    skops.io.dump(boosted(), "boosted.skops")
    with open("linear.pkl", "wb") as file:
        pickle.dump(linear(), file)
    table, label = data()
    holdout = table[600:].assign(churned=label[600:])
    holdout.to_csv("holdout.csv", index=False)
"""


class Locked(World):
    """A world whose packages and models are real; its environments outlive the session."""

    def models(self, text: str) -> None:
        """The tables of models in the project file; nothing else of it changes, so that the lock stays."""
        file = self.root / "lockship.toml"
        head = file.read_text(encoding="utf-8").partition("\n# models\n")[0]
        file.write_text(f"{head}\n# models\n{text}", encoding="utf-8")

    def python(self) -> Path:
        """The interpreter of the project's own environment."""
        shop = Workshop(self.load(), self.context)
        return shop.child(shop.own, self.folder).python

    def trained(self, *words: str) -> None:
        """Run Python in the project's own environment, in its folder."""
        subprocess.run([self.python(), *words], cwd=self.root, check=True, capture_output=True)

    @property
    def context(self) -> Context:
        """This machine, as the pipeline takes it."""
        return Context(self.cache, self.environ)


@contextmanager
def locked(folder: Path, key: Key, cache: Cache, environ: Mapping[str, str]) -> Iterator[Locked]:
    """Locked and trained; `environ` says where the package index is."""
    with world(folder, key) as made:
        found = Locked(folder, key, made.index)
        found.cache = cache
        for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL"):
            found.environ.pop(name)
        kept = {name: value for name, value in environ.items() if name.startswith(("PIP_", "SSL_", "PYENV_"))}
        found.environ |= {**kept, "LOCKSHIP_CACHE": str(cache.root), "HOME": environ.get("HOME", os.environ["HOME"])}
        found.project(REQUIREMENTS)
        done = found.run("lock")
        assert done.code == 0, done
        found.write("train.py", TRAIN)
        found.trained("train.py")
        yield found
