"""``python -m score.evaluate [FILE]``: how good the model is on labelled rows, and which features drifted.

The file has the features and a column `diagnosis`. Drift is a two-sample Kolmogorov-Smirnov test of each feature
against the training data, with Bonferroni's correction.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from scipy.stats import ks_2samp
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

from score.model import InputError, Scorer, read_csv

DATA = Path(__file__).parent.parent / "data"


def evaluate(scorer: Scorer, table: pd.DataFrame, reference: pd.DataFrame, level: float = 0.01) -> dict[str, object]:
    """Accuracy, area under the ROC curve, Brier score, and the features that drifted at `level`."""
    if "diagnosis" not in table.columns:
        raise InputError("columns are missing: diagnosis")
    predictions = scorer.predict(table)
    positive = scorer.classes[0]
    truth = table["diagnosis"] == positive
    probability = predictions[f"p_{positive}"]
    tests = {name: ks_2samp(table[name], reference[name]).pvalue for name in scorer.features}
    return {
        "rows": len(table),
        "accuracy": round(float(accuracy_score(table["diagnosis"], predictions["prediction"])), 4),
        "roc_auc": round(float(roc_auc_score(truth, probability)), 4),
        "brier": round(float(brier_score_loss(truth, probability)), 4),
        "drifted": sorted(name for name, p in tests.items() if p < level / len(tests)),
    }


def main() -> int:
    """Exit status 0, or 2 when the input is not what the model takes."""
    parser = argparse.ArgumentParser(prog="score.evaluate", description="Is the model still as good?")
    parser.add_argument("file", nargs="?", default=str(DATA / "holdout.csv"), help="a CSV file with labelled rows")
    arguments = parser.parse_args()
    try:
        reference = read_csv(str(DATA / "train.csv"))
        result = evaluate(Scorer.from_environment(), read_csv(arguments.file), reference)
    except InputError as error:
        print(f"score.evaluate: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
