"""Trains the model and writes `model.skops`, `data/train.csv` and `data/holdout.csv`.

The data is the Palmer Archipelago set (Horst, Hill and Gorman, 2020; CC0) as the package `palmerpenguins` ships it:
344 penguins of three species, with their island, sex and four measurements. Some sexes and measurements are missing.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

HERE = Path(__file__).parent
TEXT = ["island", "sex"]
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and holdout rows: the features and the column `species`."""
    table = pd.read_csv(str(files("palmerpenguins") / "data" / "penguins.csv"))[["species", *TEXT, *NUMBERS]]
    # a text that is missing is an empty one: what no encoder has to guess about, and every language can write
    table[TEXT] = table[TEXT].fillna("")
    train, holdout = train_test_split(table, test_size=0.3, random_state=7, stratify=table["species"])
    return train.sort_index(), holdout.sort_index()


def fit(train: pd.DataFrame) -> Pipeline:
    """Everything that happens to a row is part of the model: nothing stays behind in a notebook."""
    prepare = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXT),
            ("numbers", SimpleImputer(strategy="median"), NUMBERS),
        ]
    )
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=7, early_stopping=False)
    return make_pipeline(prepare, trees).fit(train[TEXT + NUMBERS], train["species"])


def main(folder: Path = HERE) -> None:
    """Train, and write everything into `folder`."""
    train, holdout = split()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    train.to_csv(folder / "data/train.csv", index=False, lineterminator="\n")
    holdout.to_csv(folder / "data/holdout.csv", index=False, lineterminator="\n")
    skops.io.dump(fit(train), folder / "model.skops")


if __name__ == "__main__":
    main()
