"""``python -m score [FILE] [-o OUT]``: predictions for each row of a CSV file, or of stdin."""

from __future__ import annotations

import argparse
import sys

from score.model import InputError, Scorer, read_csv, write_csv


def main() -> int:
    """Exit status 0, or 2 when the input is not what the model takes."""
    parser = argparse.ArgumentParser(prog="score", description="Predictions for each row of a CSV file.")
    parser.add_argument("file", nargs="?", default="-", help="a CSV file with the model's features; - is stdin")
    parser.add_argument("-o", "--output", default="-", help="where the predictions go; - is stdout")
    arguments = parser.parse_args()
    try:
        table = read_csv(sys.stdin if arguments.file == "-" else arguments.file)
        predictions = Scorer.from_environment().predict(table)
    except InputError as error:
        print(f"score: {error}", file=sys.stderr)
        return 2
    write_csv(predictions, sys.stdout if arguments.output == "-" else arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
