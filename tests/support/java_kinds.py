"""A contract that has everything a contract can have, under names that nobody should give; there is no model for it."""

from __future__ import annotations

from builder.models.contract import Contract, Feature, Golden, Input, Output, Runtime, Tolerance

__all__ = ["HOSTILE", "everything"]

HOSTILE = '*/ "quotes" \\u0022 class */ \\u002a/ {@code x} <b> &amp; @author ${user.home} \\user \u202e\n\r'

_NAMES = ("class", "wait", "getClass", "a b", "a_b", "1st", "", "年龄", "Größe", "builder", "set", HOSTILE)


def everything() -> Contract:
    """Tensors of every type, of one column and of several; outputs of every type, of one value and of several."""
    numbers = tuple(
        Feature(name=name or "***", missing="nan", description=HOSTILE, unit=HOSTILE, minimum=-1, maximum=1e300)
        for name in _NAMES
    )
    inputs = (
        Input(name="numbers\n", type="float32", features=numbers),
        Input(name=HOSTILE, type="float64", features=(Feature(name="double", categories=(1, 2.5), unseen="refused"),)),
        Input(name="whole", type="int64", features=(Feature(name="long", categories=(1, 2), unseen="refused"),)),
        Input(name="flags", type="bool", features=(Feature(name="boolean"), Feature(name="flag"))),
        Input(name="texts", type="string", features=(
            Feature(name="String", missing="empty", categories=("a", HOSTILE), unseen="refused"),)),
    )  # fmt: skip
    outputs = (
        Output(name=HOSTILE, type="string", meaning="label", classes=("class", HOSTILE, "年")),
        Output(name="p", type="float32", meaning="probabilities", width=3, classes=("class", HOSTILE, "年")),
        Output(name="scores", type="float64", meaning="scores", width=2),
        Output(name="v", type="float64", meaning="value"),
        Output(name="int", type="float32", meaning="features", width=4),
        Output(name="in t", type="string", meaning="features", width=2),
        Output(name="flags", type="bool", meaning="features", width=2),
        Output(name="flag", type="bool", meaning="features"),
        Output(name="ids", type="int64", meaning="features", width=2),
    )
    row = {"numbers\n": (0.5,) * len(numbers), HOSTILE: (2.5,), "whole": (1,), "flags": (True, False), "texts": ("",)}
    results = {
        HOSTILE: (HOSTILE,), "p": (0.25, 0.5, 0.25), "scores": ("NaN", "-Infinity"), "v": (1.0,), "int": (0.0,) * 4,
        "in t": ("\t", HOSTILE), "flags": (True, False), "flag": (True,), "ids": (1, -1),
    }  # fmt: skip
    return Contract(
        name=HOSTILE,
        version="1.0",
        description=HOSTILE,
        digest="sha256:" + "0" * 64,
        size=4,
        runtime=Runtime(opset=14, ml_opset=2, ir=7, minimum="1.8"),
        inputs=inputs,
        outputs=outputs,
        tolerance=Tolerance(absolute=0, relative=0),
        golden=Golden(
            inputs={name: (cells,) for name, cells in row.items()},
            outputs={name: (cells,) for name, cells in results.items()},
        ),
    )
