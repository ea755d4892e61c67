"""What the tests of conversions do in the converters' environment: models are made, converted and scored there."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any


def data(seed: int = 0, rows: int = 500) -> Any:
    """Numbers with holes, counts and text; all exact in float32."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 12, rows).astype(np.float32).astype(float),
            "in come": rng.lognormal(10, 1, rows).astype(np.float32).astype(float),
            "visits": rng.integers(0, 6, rows),
            "city": rng.choice(["Bern", "Zürich", "Chur"], rows),
            "label": rng.choice(["x", "y"], rows),
        }
    )
    frame.loc[::7, "age"] = np.nan
    return frame


def labels(frame: Any) -> Any:
    import numpy as np

    return np.where((frame["in come"] > 22000) ^ (frame["city"] == "Bern") ^ (frame["age"] > 55), "leaves", "stays")


def matrix(seed: int = 0, rows: int = 500, holes: bool = False) -> Any:
    import numpy as np

    x = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32).astype(float)
    if holes:
        x[np.random.default_rng(seed + 1).random(x.shape) < 0.15] = np.nan
    return x


def of_matrix(x: Any, classes: int = 2) -> Any:
    import numpy as np

    z = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) ** 2 - (np.isnan(x[:, 2]) * 1.5)
    return np.digitize(z, np.quantile(z, np.linspace(0, 1, classes + 1)[1:-1]))


def columns(frame: Any) -> list[dict[str, Any]]:
    """As the sample describes them."""
    kinds = {"f": "number", "i": "integer", "b": "bool"}
    return [
        {"name": str(name), "kind": kinds.get(kind.kind, "text"), "missing": 0} for name, kind in frame.dtypes.items()
    ]


def spec(**more: Any) -> dict[str, Any]:
    return {"name": "model", "format": "pickle", "preprocessing": "included", "root": None, "inputs": {}, **more}


def convert(model: Any, known: Any = None, *, precision: str = "float32", **more: Any) -> tuple[bytes, dict[str, Any]]:
    """The model's bytes and convert's answer."""
    from builder.models.inside.convert import made_for, written

    asked = spec(**more.pop("spec", {}))
    job = {"model": asked, "name": "model", "opset": 18, "ml_opset": 3, "ir": 8, "columns": known} | more
    job["precision"] = precision
    made, target = made_for(model, asked, job)
    return written(made, job, target)


def score(content: bytes, answer: dict[str, Any], rows: Any, threads: int = 1) -> dict[str, Any]:
    """The outputs by name; `rows` is a frame or a matrix."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kinds = {"float32": np.float32, "float64": np.float64, "int64": np.int64, "string": object, "bool": bool}
    feeds = {}
    for one in answer["inputs"]:
        names = [feature["name"] for feature in one["features"]]
        part = rows[names].to_numpy(dtype=object) if hasattr(rows, "columns") else np.asarray(rows)
        feeds[one["name"]] = part.reshape(len(rows), -1).astype(kinds[one["type"]])
    names = [one["name"] for one in answer["outputs"]]
    return dict(zip(names, session.run(names, feeds), strict=True))


def compared(model: Any, rows: Any, known: Any = None, **more: Any) -> dict[str, Any]:
    """Share of wrong labels and the largest differences, with what was applied."""
    import numpy as np

    content, answer = convert(model, known, **more)
    found = score(content, answer, rows)
    result: dict[str, Any] = {
        "applied": sorted({one["code"] for one in answer["applied"]}),
        "inputs": {one["name"]: one["type"] for one in answer["inputs"]},
        "unused": answer["unused"],
        "outputs": {one["name"]: [one["type"], one["width"], one["classes"]] for one in answer["outputs"]},
        "off": {},
    }
    methods = {"label": "predict", "value": "predict", "probabilities": "predict_proba", "features": "transform"}
    for name, got in found.items():
        expected = np.asarray(getattr(model, methods.get(name, "decision_function"))(rows))
        expected = (
            expected[:, 0] if name in ("label", "value") and expected.ndim == 2 and expected.shape[1] == 1 else expected
        )
        assert expected.shape == got.shape, (name, expected.shape, got.shape)
        wrong = expected.astype(str) != got.astype(str)
        result["off"][name] = float(wrong.mean()) if name == "label" else float(np.abs(expected - got).max())
    return result


def prepared() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer(
        [
            ("numbers", numbers, ["age", "in come"]),
            ("counts", OneHotEncoder(handle_unknown="ignore"), ["visits"]),
            ("text", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )


def model_of(name: str) -> Any:
    """A model by a short name, not fitted."""
    import catboost
    import lightgbm
    import xgboost
    from sklearn import calibration, discriminant_analysis, ensemble, linear_model, model_selection, svm, tree

    forest = ensemble.RandomForestClassifier(50, random_state=0)
    quiet = {"iterations": 20, "verbose": 0, "allow_writing_files": False, "random_seed": 0}
    made = {
        "soft votes": lambda: ensemble.VotingClassifier(
            [("f", forest), ("l", linear_model.LogisticRegression())], voting="soft"
        ),
        "threshold": lambda: model_selection.FixedThresholdClassifier(linear_model.LogisticRegression(), threshold=0.3),
        "logistic": lambda: linear_model.LogisticRegression(max_iter=300),
        "ridge": linear_model.Ridge,
        "forest": lambda: forest,
        "extra": lambda: ensemble.ExtraTreesClassifier(50, random_state=0),
        "tree": lambda: tree.DecisionTreeClassifier(random_state=0),
        "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0),
        "histogram": lambda: ensemble.HistGradientBoostingClassifier(max_iter=30),
        "categories": lambda: ensemble.HistGradientBoostingClassifier(max_iter=30, categorical_features=[3]),
        "lda": discriminant_analysis.LinearDiscriminantAnalysis,
        "linear svc": svm.LinearSVC,
        "isotonic": lambda: calibration.CalibratedClassifierCV(forest, method="isotonic", cv=3),
        "temperature": lambda: calibration.CalibratedClassifierCV(forest, method="temperature", cv=3),
        "xgboost": lambda: xgboost.XGBClassifier(n_estimators=20),
        "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=20, verbose=-1),
        "catboost": lambda: catboost.CatBoostClassifier(**quiet),
    }
    return made[name]()


def pipeline(name: str, precision: str = "float32") -> dict[str, Any]:
    """Columns, one-hot, scaler and `name`, on rows that it wasn't trained on."""
    import numpy as np
    from sklearn.pipeline import make_pipeline

    frame = data()
    y: Any = labels(frame)
    if name in ("xgboost", "ridge"):
        y = (y == "stays").astype(int) if name == "xgboost" else np.log(frame["in come"])
    model = make_pipeline(prepared(), model_of(name)).fit(frame, y)
    return compared(model, data(5), columns(frame), precision=precision)


def array(name: str, holes: bool = False, classes: int = 2, precision: str = "float32") -> dict[str, Any]:
    """A bare model of a matrix."""
    x = matrix(holes=holes)
    if name == "categories":
        x[:, 3] = abs(x[:, 3] * 5).round() % 7
    model = model_of(name).fit(x, of_matrix(x, classes))
    fresh = matrix(9, holes=holes)
    if name == "categories":
        fresh[:, 3] = abs(fresh[:, 3] * 5).round() % 9  # two that were never seen
    return compared(model, fresh, precision=precision)


def transformed(name: str) -> dict[str, Any]:
    """A transformer of numbers, some of which occur often."""
    from sklearn.ensemble import RandomTreesEmbedding
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer

    made = {
        "embedding": lambda: RandomTreesEmbedding(5, sparse_output=False, random_state=0),
        "quantiles": lambda: QuantileTransformer(n_quantiles=40),
        "bins": lambda: KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
        "indicator": lambda: SimpleImputer(add_indicator=True),
    }
    x, fresh = matrix(holes=name == "indicator"), matrix(6, holes=name == "indicator")
    x[::3, 1], fresh[::4, 1] = 0.5, 0.5
    return compared(made[name]().fit(x), fresh)


def votes() -> dict[str, Any]:
    """Ties of a forest, on several threads and in batches."""
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    x = matrix(rows=300)
    model = RandomForestClassifier(50, random_state=0).fit(x, of_matrix(x))
    fresh = matrix(3, rows=4000)
    expected = model.predict(fresh)
    best = np.sort(model.predict_proba(fresh), axis=1)
    content, answer = convert(model)
    wrong = {}
    for threads in (1, 2, 4):
        wrong[f"{threads}"] = int((score(content, answer, fresh, threads)["label"] != expected).sum())
    single = [score(content, answer, fresh[row : row + 1])["label"][0] for row in range(100)]
    wrong["single"] = int((np.array(single) != expected[:100]).sum())
    return {"ties": int((best[:, -1] - best[:, -2] < 1e-9).sum()), "wrong": wrong}


def digests() -> list[str]:
    """Of the same fitted models, converted here."""
    from sklearn.pipeline import make_pipeline

    found = []
    frame, x = data(), matrix()
    for name in ("logistic", "forest", "histogram", "isotonic"):
        model = make_pipeline(prepared(), model_of(name)).fit(frame, labels(frame))
        found.append(hashlib.sha256(convert(model, columns(frame))[0]).hexdigest())
    for name in ("xgboost", "lightgbm", "catboost", "boosting", "linear svc"):
        found.append(hashlib.sha256(convert(model_of(name).fit(x, of_matrix(x)))[0]).hexdigest())
    return found


def told(model: Any, **more: Any) -> list[list[str]]:
    """Status, code, path and message of each step."""
    from builder.models.inside.explain import steps_of

    return [[one["status"], one["code"], one["path"], one["message"]] for one in steps_of(model, spec(**more))]


def refusal(model: Any, known: Any = None, **more: Any) -> list[str]:
    """Message and hint of the problem that converting it is."""
    from builder.models.inside.problem import Problem

    try:
        convert(model, known, **more)
    except Problem as problem:
        return [problem.message, problem.hint or ""]
    return []


def suspicious(name: str) -> dict[str, Any]:
    """A model that other converters score differently or don't take: what is said of it."""
    model = _suspicious(name)
    return {"told": told(model), "refused": refusal(model)}


def _suspicious(name: str) -> Any:
    import catboost
    import lightgbm
    import pandas as pd
    import xgboost
    from sklearn.cluster import DBSCAN
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, SplineTransformer

    x, texts = matrix(), ["red ice", "green snow"] * 20
    y = of_matrix(x)
    frame = pd.DataFrame({"a": x[:, 0], "c": pd.Categorical(["u", "v"] * 250)})
    quiet = {"iterations": 5, "verbose": 0, "allow_writing_files": False}
    words = {
        "own tokenizer": {"tokenizer": str.split, "token_pattern": None},
        "characters": {"analyzer": "char_wb"},
        "accents": {"strip_accents": "unicode"},
        "pattern": {"token_pattern": r"[a-z]+"},
        "stop words": {"stop_words": ["ice"], "ngram_range": (1, 2)},
    }
    if name in words:
        return make_pipeline(TfidfVectorizer(**words[name]), LogisticRegression()).fit(texts, [0, 1] * 20)
    made = {
        "python function": lambda: make_pipeline(FunctionTransformer(_twice), LogisticRegression()).fit(x, y),
        "no converter": lambda: make_pipeline(SplineTransformer(), LogisticRegression()).fit(x, y),
        "several targets": lambda: MultiOutputClassifier(LogisticRegression()).fit(
            x, pd.DataFrame({"a": y, "b": 1 - y})
        ),
        "not fitted": lambda: make_pipeline(FunctionTransformer(), LogisticRegression()),
        "weights": lambda: KNeighborsClassifier(weights=_twice).fit(x, y),
        "clusters": lambda: DBSCAN().fit(x),
        "text categories": lambda: HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=3).fit(
            frame, y
        ),
        "catboost": lambda: catboost.CatBoostClassifier(**quiet, cat_features=["c"]).fit(frame, y),
        "xgboost": lambda: xgboost.XGBClassifier(n_estimators=3, enable_categorical=True).fit(frame, y),
        "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(frame, y),
        "linear booster": lambda: xgboost.XGBClassifier(n_estimators=3, booster="gblinear").fit(x, y),
        "zeros missing": lambda: xgboost.XGBClassifier(n_estimators=3, missing=0).fit(x, y),
    }
    return made[name]()


def _twice(values: Any) -> Any:
    return values * 2


def bare(preprocessing: str | None) -> list[str]:
    """A model without preprocessing."""
    from sklearn.linear_model import LogisticRegression

    x = matrix()
    return refusal(LogisticRegression().fit(x, of_matrix(x)), spec={"preprocessing": preprocessing})


def wrappers() -> dict[str, Any]:
    """A frozen estimator in a pipeline that a random search found."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = matrix()
    y = of_matrix(x)
    scaler = FrozenEstimator(StandardScaler().fit(x))
    inner = make_pipeline(scaler, model_of("logistic"))
    search = RandomizedSearchCV(inner, {"logisticregression__C": [0.1, 1]}, n_iter=2, cv=2, random_state=0).fit(x, y)
    return compared(search, matrix(4)) | {"kind": type(search).__name__, "still": type(search.best_estimator_).__name__}


def text() -> dict[str, Any]:
    """Words of other scripts, words of one letter, and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    texts = ["Schnee i eis", "ÉTÉ d'hiver à", "naïve café 9", "", "don't x1 off_peak", "снег лёд", "雪 が 降る"] * 20
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), model_of("logistic")).fit(
        texts, [0, 1, 2, 0, 1, 2, 1] * 20
    )
    import numpy as np

    content, answer = convert(model)
    rows = np.array([*texts[:7], "été i snow", "CAFÉ café"], dtype=object)
    found = score(content, answer, rows[:, None])
    expected = model.predict_proba(list(rows))
    return {
        "off": float(np.abs(expected - found["probabilities"]).max()),
        "inputs": {one["name"]: one["type"] for one in answer["inputs"]},
        "limits": answer["limits"],
    }


def own_converter(entry: str, root: str) -> dict[str, Any]:
    """A class of the project with its own converter."""
    from sklearn.pipeline import make_pipeline

    sys.path.insert(0, root)
    import own_steps

    x = matrix()
    model = make_pipeline(own_steps.Doubler(), model_of("logistic")).fit(x, of_matrix(x))
    more = {"converters": [entry], "root": root}
    problem = refusal(model, spec=more)
    return {"problem": problem} if problem else compared(model, matrix(2), spec=more)


def encoded(setting: str) -> dict[str, Any]:
    """One-hot encoders of all kinds, with rows that have unseen and missing values."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    settings: dict[str, dict[str, Any]] = {
        "plain": {},
        "first dropped": {"drop": "first"},
        "rare together": {"min_frequency": 0.2, "handle_unknown": "infrequent_if_exist"},
        "rare together, first dropped": {
            "min_frequency": 0.2,
            "handle_unknown": "infrequent_if_exist",
            "drop": "first",
        },
    }
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Bern", "Zürich", "Chur", "Genf"], 200, p=[0.5, 0.3, 0.1, 0.1]),
            "half": rng.choice([0.5, 1.0, 1.5, np.nan], 200, p=[0.5, 0.3, 0.1, 0.1]),
        }
    )
    encoder = OneHotEncoder(**{"handle_unknown": "ignore", "sparse_output": False, **settings[setting]})
    model = ColumnTransformer([("all", encoder, ["city", "half"])]).fit(frame)
    rows = pd.concat([frame, pd.DataFrame({"city": ["Basel", "bern"], "half": [1.2, 7.0]})], ignore_index=True)
    return compared(model, rows, columns(frame))


def names() -> dict[str, Any]:
    """Columns whose names are no identifiers, are those of outputs, or become the same."""
    import pandas as pd
    from sklearn.preprocessing import StandardScaler

    x = matrix()
    frame = pd.DataFrame(x, columns=["label", "a b", "a-b", "größe 1"])
    model = StandardScaler().fit(frame)
    return compared(model, frame, columns(frame))


def types() -> dict[str, Any]:
    """Whole numbers and flags stay what they are outside."""
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = matrix()
    frame = pd.DataFrame({"n": (x[:, 0] * 10).astype(int), "flag": x[:, 1] > 0, "z": x[:, 2]})
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, of_matrix(x))
    result = compared(model, frame, columns(frame))
    doubled = compared(model, frame, columns(frame), precision="double+cast")
    return {"float32": result, "double+cast": doubled, "whole": bool(np.all(frame["n"] == frame["n"].astype(int)))}


def scores() -> dict[str, Any]:
    """Raw scores, where asked for and where there is nothing else."""
    x = matrix()
    found = {}
    for name, classes in (("linear svc", 2), ("linear svc", 3), ("logistic", 2)):
        model = model_of(name).fit(x, of_matrix(x, classes))
        found[f"{name} {classes}"] = compared(model, matrix(1), spec={"raw_scores": True})
    return found


def versions() -> list[list[Any]]:
    """Written for runtimes old and new: operator sets and IR version."""
    x = matrix()
    model = model_of("forest").fit(x, of_matrix(x))
    found = []
    for opset, ml, ir in ((14, 2, 7), (15, 2, 8), (18, 3, 8), (28, 5, 14)):
        answer = convert(model, opset=opset, ml_opset=ml, ir=ir)[1]
        found.append([answer["opset"] <= opset, answer["ml_opset"] <= ml, answer["ir"] <= ir])
    return found


def job() -> dict[str, Any]:
    """The whole operation, from the file of a model to the answer."""
    import pickle

    from builder.models.inside.main import answer

    frame = data()
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(prepared(), model_of("logistic")).fit(frame, labels(frame))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = pickle.dumps(model)
        (folder / "model.pickle").write_bytes(content)
        said = spec(path=str(folder / "model.pickle"), sha256=hashlib.sha256(content).hexdigest(), root=name)
        explained = answer({"operation": "explain", "model": said, "folder": name})
        target = {"opset": 18, "ml_opset": 3, "ir": 8, "precision": "float32", "metadata": {"b": "2", "a": "1"}}
        asked = {"operation": "convert", "model": said, "columns": columns(frame), "name": "churn", "folder": name}
        converted = answer({**asked, **target})
        import onnx

        proto = onnx.load(str(folder / "model.onnx"))
    return {
        "explained": explained["result"],
        "converted": converted["result"],
        "metadata": [[one.key, one.value] for one in proto.metadata_props],
        "graph": proto.graph.name,
        "shapes": {
            one.name: [item.dim_param or item.dim_value for item in one.type.tensor_type.shape.dim]
            for one in (*proto.graph.input, *proto.graph.output)
        },
    }


def hostile(kind: str) -> list[str]:
    """What is said of an ONNX file that is broken, or wants too much."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((4, 1), dtype=np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])
    nodes, outputs, sets = [node], [y], [helper.make_opsetid("", 18)]
    if kind.startswith("external"):
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(
            key="location", value={"external": "w.bin", "external up": "../w.bin"}.get(kind, "/etc/passwd")
        )
    if kind == "huge":
        weights.dims[0] = 1 << 40
    if kind == "negative":
        weights.dims[0] = -4
    if kind == "short":
        weights.raw_data = weights.raw_data[:-4]
    if kind == "filled":
        size = numpy_helper.from_array(np.array([1 << 40]), "size")
        nodes = [helper.make_node("ConstantOfShape", ["size"], ["big"]), node]
        model = _proto(nodes, [x], outputs, [weights, size], sets)
    if kind == "unknown":
        nodes = [helper.make_node("Exfiltrate", ["x", "w"], ["y"])]
    if kind == "foreign":
        nodes = [helper.make_node("FusedGemm", ["x", "w"], ["y"], domain="com.microsoft")]
        sets.append(helper.make_opsetid("com.microsoft", 1))
    if kind == "twice":
        outputs = [y, y]
    if kind == "fixed rows":
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])
    if kind == "three dimensions":
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 4])
    if kind == "newer":
        sets.append(helper.make_opsetid("ai.onnx.ml", 5))
    if kind != "filled":
        model = _proto(nodes, [x], outputs, [weights], sets)
    content = model.SerializeToString()
    if kind == "truncated":
        content = content[: len(content) // 2]
    if kind == "text":
        content = b"<html>not found</html>"
    if kind == "empty graph":
        content = onnx.ModelProto(ir_version=8).SerializeToString()
    return refusal(content, spec={"format": "onnx"})


def _proto(nodes: Any, inputs: Any, outputs: Any, weights: Any, sets: Any) -> Any:
    from onnx import helper

    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def adopted(file: str) -> dict[str, Any]:
    """A recorded export under our names, with its scores and those of the file as it is."""
    import numpy as np

    from builder.models.inside.foreign import adapted

    content = Path(file).read_bytes()
    made, answer = convert(content, [{"name": f"c{n}", "kind": "number"} for n in range(4)], spec={"format": "onnx"})
    again = convert(content, [{"name": f"c{n}", "kind": "number"} for n in range(4)], spec={"format": "onnx"})[0]
    original = adapted(content, answer)
    rows = matrix(rows=50).astype(np.float32)
    methods = {"label": original.predict} if hasattr(original, "predict") else {}
    found = score(made, answer, rows)
    off = {}
    for one in answer["outputs"]:
        method = {
            "label": "predict",
            "value": "predict",
            "scores": "decision_function",
            "probabilities": "predict_proba",
        }
        expected = getattr(original, method[one["meaning"]])(rows)
        off[one["name"]] = float(np.abs(expected.reshape(found[one["name"]].shape) - found[one["name"]]).max())
    _ = methods
    return {
        "off": off,
        "same": again == made,
        "inputs": {one["name"]: [one["type"], len(one["features"])] for one in answer["inputs"]},
        "outputs": {one["name"]: [one["type"], one["width"], one["classes"]] for one in answer["outputs"]},
        "applied": [one["code"] for one in answer["applied"]],
    }


def zipmap() -> dict[str, Any]:
    """A classifier as skl2onnx writes it when nobody says otherwise."""
    import numpy as np
    from skl2onnx import to_onnx

    x = matrix().astype(np.float32)
    model = model_of("logistic").fit(x, np.where(of_matrix(x) == 1, "yes", "no"))
    content = to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}).SerializeToString()
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(content)
        file.flush()
        return adopted_labels(file.name, model, x)


def adopted_labels(file: str, model: Any, x: Any) -> dict[str, Any]:
    import numpy as np

    made, answer = convert(Path(file).read_bytes(), None, spec={"format": "onnx"})
    found = score(made, answer, x)
    return {
        "labels": float((found["label"] != model.predict(x)).mean()),
        "probabilities": float(np.abs(found["probabilities"] - model.predict_proba(x)).max()),
        "classes": answer["outputs"][0]["classes"],
    }


def main() -> None:
    """Run the scenarios that stdin names, a line each; a line of JSON for what each gives."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"result": globals()[name](*arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()[-4000:]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
