"""Trains the model and writes `model.skops`, `data/train.csv` and `data/holdout.csv`.

The data is the Auto MPG set (StatLib, 1983) as the package `vega_datasets` ships it: cars of 1970 to 1982, with where
they come from, what they weigh and what they need. Some horsepowers are missing, and some consumptions, which are not
used.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import skops.io
from lightgbm import LGBMRegressor
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

HERE = Path(__file__).parent
TEXT = ["Origin"]
NUMBERS = ["Cylinders", "Displacement", "Horsepower", "Weight_in_lbs", "Acceleration", "Year"]
TARGET = "Miles_per_Gallon"


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and holdout rows: the features and the column `Miles_per_Gallon`."""
    table = pd.DataFrame(json.loads((files("vega_datasets") / "_data" / "cars.json").read_text(encoding="utf-8")))
    table["Year"] = table["Year"].str[:4].astype("int64")
    table = table.dropna(subset=[TARGET])[[TARGET, *TEXT, *NUMBERS]]
    train, holdout = train_test_split(table, test_size=0.3, random_state=3)
    return train.sort_index(), holdout.sort_index()


def fit(train: pd.DataFrame) -> Pipeline:
    """LightGBM knows what to do where a horsepower is missing."""
    origin = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepare = ColumnTransformer([("origin", origin, TEXT)], remainder="passthrough")
    trees = LGBMRegressor(n_estimators=120, num_leaves=15, random_state=3, deterministic=True, n_jobs=1, verbose=-1)
    prepare.set_output(transform="default")
    features = train[TEXT + NUMBERS].astype(dict.fromkeys(NUMBERS, np.float64))
    return make_pipeline(prepare, trees).fit(features, train[TARGET])


def main(folder: Path = HERE) -> None:
    """Train, and write everything into `folder`."""
    train, holdout = split()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    train.to_csv(folder / "data/train.csv", index=False, lineterminator="\n")
    holdout.to_csv(folder / "data/holdout.csv", index=False, lineterminator="\n")
    skops.io.dump(fit(train), folder / "model.skops")


if __name__ == "__main__":
    main()
