"""Models to convert: pipelines with text, missing values and categories, ensembles of ensembles, boosters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.coverage_cases import Case, numbers, one_text, target, texts, values

CITIES = ["Bern", "Zürich", "Genf", "Chur", "Basel"]


def clients(seed: int, *, exact: bool = True) -> pd.DataFrame:
    """Rows as businesses have them: money, ages with holes, counts, flags, two columns of text, one with holes."""
    rng = np.random.default_rng(seed)
    count = 600
    frame = pd.DataFrame(
        {
            "income": np.round(rng.lognormal(10, 0.6, count), 2),
            "age": rng.normal(45, 14, count).clip(18, 95),
            "visits": rng.integers(0, 12, count),
            "score": rng.normal(0, 1, count),
            "city": rng.choice(CITIES, count),
            "plan": rng.choice(["basic", "plus", "pro"], count, p=[0.6, 0.3, 0.1]),
        }
    )
    frame.loc[rng.random(count) < 0.1, "age"] = np.nan
    if exact:
        for name in ("income", "age", "score"):
            frame[name] = frame[name].astype(np.float32).astype(np.float64)
    return frame


def raw_clients(seed: int) -> pd.DataFrame:
    """The same in float64: cents that float32 rounds."""
    return clients(seed, exact=False)


def as_is(rows: pd.DataFrame) -> Any:
    return rows


NUMBERS, COUNTS, TEXTS = ["income", "age", "score"], ["visits"], ["city", "plan"]


def churn(rows: pd.DataFrame) -> Any:
    z = np.log(rows["income"]) - 10 + (rows["age"].fillna(40) - 45) / 20 + (rows["city"] == "Bern") + rows["score"]
    return np.where(z > z.median(), "leaves", "stays")


def three(rows: pd.DataFrame) -> Any:
    z = (np.log(rows["income"]) + rows["score"]).to_numpy()
    return np.digitize(z, np.quantile(z, [0.3, 0.7]))


def spend(rows: pd.DataFrame) -> Any:
    return (rows["income"] / 1000 + rows["visits"] * 2 + (rows["plan"] == "pro") * 9 + rows["score"]).to_numpy()


def prepared(numeric: Any = None, text: Any = None, counts: Any = "passthrough") -> Any:
    """Columns to a matrix: numbers imputed and scaled, text one-hot."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()) if numeric is None else numeric
    text = OneHotEncoder(handle_unknown="ignore") if text is None else text
    return ColumnTransformer([("numbers", numeric, NUMBERS), ("counts", counts, COUNTS), ("text", text, TEXTS)])


def pipelines() -> Iterator[Case]:
    """All of them."""
    yield from _of_clients()
    yield from _of_numbers()
    yield from _of_words()
    yield from _of_boosters()


def _client(name: str, build: Callable[[], Any], of: Any = churn, **more: Any) -> Case:
    rows = more.pop("rows", clients)

    def make() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build().fit(rows(0), of(rows(0)))

    return Case(name, make, rows, as_is, **more)


def _of_clients() -> Iterator[Case]:
    from sklearn import preprocessing as pp
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
    from sklearn.ensemble import (
        AdaBoostClassifier,
        BaggingClassifier,
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
        StackingClassifier,
        StackingRegressor,
        VotingClassifier,
        VotingRegressor,
    )
    from sklearn.feature_selection import SelectFromModel, SelectKBest
    from sklearn.impute import SimpleImputer
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, TunedThresholdClassifierCV
    from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.svm import SVC, SVR, LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    log = lambda: LogisticRegression(max_iter=500)  # noqa: E731
    forest = lambda n=30: RandomForestClassifier(n, random_state=0)  # noqa: E731
    pipe = lambda last, **k: lambda: make_pipeline(prepared(**k), last())  # noqa: E731
    yield _client("logistic regression", pipe(log))
    yield _client("logistic regression, three classes", pipe(log), three)
    yield _client(
        "logistic regression, float64 rows", pipe(log), rows=raw_clients, exact=False, precision="double+cast"
    )
    yield _client("random forest", pipe(forest))
    yield _client("random forest of 50, three classes", pipe(lambda: forest(50)), three)
    yield _client(
        "random forest, double+cast, float64 rows", pipe(forest), rows=raw_clients, exact=False, precision="double+cast"
    )
    yield _client("extra trees", pipe(lambda: ExtraTreesClassifier(40, random_state=0)))
    yield _client("decision tree", pipe(lambda: DecisionTreeClassifier(max_depth=6)))
    yield _client("gradient boosting", pipe(lambda: GradientBoostingClassifier(n_estimators=30)))
    yield _client("gradient boosting, three classes", pipe(lambda: GradientBoostingClassifier(n_estimators=20)), three)
    yield _client("histogram boosting", pipe(lambda: HistGradientBoostingClassifier(max_iter=40)))
    yield _client("histogram boosting, three classes", pipe(lambda: HistGradientBoostingClassifier(max_iter=20)), three)
    yield _client("histogram boosting, double+cast, float64 rows",
                  pipe(lambda: HistGradientBoostingClassifier(max_iter=40)),
                  rows=raw_clients, exact=False, precision="double+cast")  # fmt: skip
    yield _client(
        "histogram boosting with missing values",
        pipe(lambda: HistGradientBoostingClassifier(max_iter=40), numeric="passthrough"),
    )
    yield _client("forest with missing values", pipe(forest, numeric="passthrough"))
    yield _client(
        "decision tree with missing values", pipe(lambda: DecisionTreeClassifier(max_depth=8), numeric="passthrough")
    )
    holed = lambda: pp.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)  # noqa: E731
    ordinal = lambda: pp.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)  # noqa: E731
    yield _client("ordinal encoder, forest", pipe(forest, text=ordinal()))
    yield _client("ordinal encoder, unseen as NaN, histogram boosting",
                  pipe(lambda: HistGradientBoostingClassifier(max_iter=30),
                  numeric="passthrough", text=holed()))  # fmt: skip
    yield _client("ordinal encoder, categorical histogram boosting", pipe(
        lambda: HistGradientBoostingClassifier(max_iter=30, categorical_features=[4, 5]),
        numeric="passthrough", text=holed()))  # fmt: skip
    yield _client("histogram boosting of text categories", lambda: HistGradientBoostingClassifier(
        max_iter=20, categorical_features=["city", "plan"]))  # fmt: skip
    yield _client("target encoder", pipe(log, text=pp.TargetEncoder(random_state=0)))
    yield _client("one-hot, first dropped", pipe(log, text=pp.OneHotEncoder(drop="first", handle_unknown="ignore")))
    yield _client(
        "one-hot, rare put together",
        pipe(log, text=pp.OneHotEncoder(min_frequency=0.15, handle_unknown="infrequent_if_exist")),
    )
    yield _client("one-hot that raises for unseen", pipe(log, text=pp.OneHotEncoder()))
    yield _client("one-hot of counts", pipe(log, counts=pp.OneHotEncoder(handle_unknown="ignore")))
    yield _client(
        "imputed text",
        pipe(
            log, text=make_pipeline(SimpleImputer(strategy="most_frequent"), pp.OneHotEncoder(handle_unknown="ignore"))
        ),
    )
    yield _client(
        "imputer with indicator",
        pipe(log, numeric=make_pipeline(SimpleImputer(add_indicator=True), pp.StandardScaler())),
    )
    yield _client("selector of dtypes", lambda: make_pipeline(ColumnTransformer([
        ("n", make_pipeline(SimpleImputer(), pp.MinMaxScaler()), make_column_selector(dtype_include="number")),
        ("t", pp.OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    ]), log()))  # fmt: skip
    yield _client(
        "some columns unused",
        lambda: make_pipeline(ColumnTransformer([("n", pp.StandardScaler(), ["income", "score"])]), log()),
    )
    for scaler in (
        pp.MinMaxScaler(),
        pp.RobustScaler(),
        pp.MaxAbsScaler(),
        pp.PowerTransformer(),
        pp.QuantileTransformer(n_quantiles=50),
    ):
        yield _client(
            f"{type(scaler).__name__}, logistic regression", pipe(log, numeric=make_pipeline(SimpleImputer(), scaler))
        )
    yield _client(
        "binned",
        pipe(
            log, numeric=make_pipeline(SimpleImputer(), pp.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"))
        ),
    )
    yield _client("splines", pipe(log, numeric=make_pipeline(SimpleImputer(), pp.SplineTransformer())))
    yield _client(
        "polynomials", pipe(log, numeric=make_pipeline(SimpleImputer(), pp.StandardScaler(), pp.PolynomialFeatures(2)))
    )
    yield _client(
        "logarithms by NumPy",
        pipe(
            log,
            numeric=make_pipeline(SimpleImputer(), pp.FunctionTransformer(np.abs), pp.FunctionTransformer(np.log1p)),
        ),
    )
    yield _client(
        "a Python function", pipe(log, numeric=make_pipeline(SimpleImputer(), pp.FunctionTransformer(lambda x: x * 2)))
    )
    yield _client("PCA", lambda: make_pipeline(prepared(), PCA(4), log()))
    yield _client("PCA, forest", lambda: make_pipeline(prepared(), PCA(4), forest()))
    yield _client("truncated SVD", lambda: make_pipeline(prepared(), TruncatedSVD(4), log()))
    yield _client("k best", lambda: make_pipeline(prepared(), SelectKBest(k=5), log()))
    yield _client("selected by a forest", lambda: make_pipeline(prepared(), SelectFromModel(forest()), log()))
    yield _client("Nystroem", lambda: make_pipeline(prepared(), Nystroem(n_components=20), log()))
    yield _client(
        "feature union",
        lambda: make_pipeline(prepared(), FeatureUnion([("pca", PCA(2)), ("best", SelectKBest(k=3))]), log()),
    )
    yield _client("naive Bayes", pipe(GaussianNB))
    yield _client("neighbours", pipe(KNeighborsClassifier))
    yield _client("perceptron", pipe(lambda: MLPClassifier((10,), max_iter=200, random_state=0)))
    yield _client("linear SVC", pipe(LinearSVC))
    yield _client("SVC", pipe(SVC))
    yield _client("SVC, three classes", pipe(SVC), three)
    yield _client("SGD, hinge", pipe(lambda: SGDClassifier(random_state=0)))
    yield _client("LDA", pipe(LinearDiscriminantAnalysis))
    yield _client("LDA, three classes", pipe(LinearDiscriminantAnalysis), three)
    yield _client("QDA", pipe(lambda: QuadraticDiscriminantAnalysis(reg_param=0.1)))
    yield _client("AdaBoost", pipe(lambda: AdaBoostClassifier(n_estimators=20, random_state=0)))
    yield _client("bagging of trees", pipe(lambda: BaggingClassifier(n_estimators=10, random_state=0)))
    yield _client("one against the rest", pipe(lambda: OneVsRestClassifier(log())), three)
    yield _client("one against one", pipe(lambda: OneVsOneClassifier(log())), three)
    yield _client("stacking", pipe(lambda: StackingClassifier([("f", forest()), ("l", log())], log(), cv=3)))
    yield _client("stacking with an SVC", pipe(lambda: StackingClassifier([("s", SVC()), ("l", log())], log(), cv=3)))
    yield _client(
        "stacking of pipelines",
        lambda: StackingClassifier(
            [("a", make_pipeline(prepared(), forest())), ("b", make_pipeline(prepared(), log()))], log(), cv=3
        ),
    )
    yield _client("soft voting", pipe(lambda: VotingClassifier([("f", forest()), ("l", log())], voting="soft")))
    yield _client("hard voting", pipe(lambda: VotingClassifier([("f", forest()), ("l", log()), ("n", GaussianNB())])))
    for method in ("sigmoid", "isotonic", "temperature"):
        yield _client(
            f"{method} calibration of a forest", pipe(lambda m=method: CalibratedClassifierCV(forest(), method=m, cv=3))
        )
    yield _client(
        "isotonic calibration, three classes",
        pipe(lambda: CalibratedClassifierCV(forest(), method="isotonic", cv=3)),
        three,
    )
    yield _client("sigmoid calibration of a linear SVC", pipe(lambda: CalibratedClassifierCV(LinearSVC(), cv=3)))
    yield _client(
        "temperature calibration of boosting",
        pipe(lambda: CalibratedClassifierCV(HistGradientBoostingClassifier(max_iter=20), method="temperature", cv=3)),
        three,
    )
    yield _client(
        "calibration of a pipeline", lambda: CalibratedClassifierCV(make_pipeline(prepared(), forest()), cv=3)
    )
    yield _client(
        "grid search around a pipeline",
        lambda: GridSearchCV(make_pipeline(prepared(), log()), {"logisticregression__C": [0.1, 1]}, cv=3),
    )
    yield _client(
        "random search inside a pipeline",
        pipe(lambda: RandomizedSearchCV(log(), {"C": [0.1, 1, 10]}, n_iter=2, cv=3, random_state=0)),
    )
    yield _client(
        "tuned threshold",
        pipe(lambda: TunedThresholdClassifierCV(log(), cv=3, scoring="accuracy")),
        lambda r: (churn(r) == "stays").astype(int),
    )
    yield _client("linear regression", pipe(LinearRegression), spend)
    yield _client("ridge", pipe(Ridge), spend)
    yield _client("lasso", pipe(Lasso), spend)
    yield _client("Poisson regression", pipe(PoissonRegressor), lambda r: np.abs(spend(r)))
    yield _client("forest regression", pipe(lambda: RandomForestRegressor(40, random_state=0)), spend)
    yield _client("gradient boosting regression", pipe(lambda: GradientBoostingRegressor(n_estimators=30)), spend)
    yield _client("histogram boosting regression", pipe(lambda: HistGradientBoostingRegressor(max_iter=40)), spend)
    yield _client(
        "histogram boosting, Poisson",
        pipe(lambda: HistGradientBoostingRegressor(max_iter=20, loss="poisson")),
        lambda r: np.abs(spend(r)),
    )
    yield _client("neighbours regression", pipe(KNeighborsRegressor), spend)
    yield _client("SVR", pipe(SVR), spend)
    yield _client(
        "perceptron regression",
        pipe(lambda: MLPRegressor(hidden_layer_sizes=(10,), max_iter=200, random_state=0)),
        spend,
    )
    yield _client(
        "log target",
        pipe(lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1)),
        lambda r: np.abs(spend(r)),
    )
    yield _client(
        "scaled target", pipe(lambda: TransformedTargetRegressor(Ridge(), transformer=pp.StandardScaler())), spend
    )
    yield _client(
        "log target around a pipeline",
        lambda: TransformedTargetRegressor(make_pipeline(prepared(), Ridge()), func=np.log, inverse_func=np.exp),
        lambda r: np.abs(spend(r)) + 1,
    )
    yield _client(
        "stacking regression",
        pipe(lambda: StackingRegressor([("f", RandomForestRegressor(10, random_state=0)), ("r", Ridge())], cv=3)),
        spend,
    )
    yield _client(
        "voting regression",
        pipe(lambda: VotingRegressor([("f", RandomForestRegressor(10, random_state=0)), ("r", Ridge())])),
        spend,
    )
    yield _client("columns to a matrix", prepared, lambda r: None)


def _number(name: str, build: Callable[[], Any], of: str = "two", **more: Any) -> Case:
    raw = more.get("exact") is False
    rows = more.pop("rows", (lambda seed: numbers(seed, exact=False)) if raw else numbers)

    def make() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build().fit(values(rows(0)), target(rows(0), of))

    return Case(name, make, rows, values, **more)


def holes(seed: int) -> pd.DataFrame:
    """Numbers with missing values."""
    rows = numbers(seed)
    return rows.mask(np.random.default_rng(seed + 1).random(rows.shape) < 0.1).assign(
        x0=rows["x0"], x1=rows["x1"], x4=rows["x4"]
    )


def codes(seed: int) -> pd.DataFrame:
    """Numbers, of which the last is one of twelve codes."""
    rows = numbers(seed)
    return rows.assign(x5=np.random.default_rng(seed + 2).integers(0, 12, len(rows)).astype(float))


def coded(rows: pd.DataFrame) -> Any:
    return ((rows["x5"] % 3 == 0) ^ (rows["x0"] > 0)).astype(int).to_numpy()


def _of_numbers() -> Iterator[Case]:
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        HistGradientBoostingClassifier,
        IsolationForest,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    yield _number("array: forest of 50", lambda: RandomForestClassifier(50, random_state=0))
    yield _number(
        "array: forest of 100 shallow trees", lambda: RandomForestClassifier(100, max_depth=4, random_state=0), "three"
    )
    yield _number("array: forest with missing values", lambda: RandomForestClassifier(50, random_state=0), rows=holes)
    yield _number(
        "array: extra trees with missing values", lambda: ExtraTreesClassifier(50, random_state=0), rows=holes
    )
    yield _number("array: decision tree with missing values", DecisionTreeClassifier, "three", rows=holes)
    yield _number(
        "array: histogram boosting with missing values", lambda: HistGradientBoostingClassifier(max_iter=40), rows=holes
    )
    yield _number("array: forest regression, two targets", lambda: RandomForestRegressor(20, random_state=0), "values")
    yield _number(
        "array: scaler, isolation forest", lambda: make_pipeline(StandardScaler(), IsolationForest(random_state=0))
    )
    yield _number(
        "array: forest, float64 rows, double+cast",
        lambda: RandomForestClassifier(50, random_state=0),
        exact=False,
        precision="double+cast",
    )
    yield _number(
        "array: forest, float64 rows, float32", lambda: RandomForestClassifier(50, random_state=0), exact=False
    )
    yield Case("array: histogram boosting with categories", lambda: HistGradientBoostingClassifier(
        max_iter=40, categorical_features=[5]).fit(values(codes(0)), coded(codes(0))), codes, values)  # fmt: skip


def _of_words() -> Iterator[Case]:
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.svm import LinearSVC

    def labels(rows: pd.DataFrame) -> Any:
        return np.array(["warm" if "red" in text or "été" in text else "cold" for text in rows["text"]])

    def word(name: str, build: Callable[[], Any], *, column: bool = False) -> Case:
        taken = as_is if column else one_text
        return Case(f"text: {name}", lambda: build().fit(taken(texts(0)), labels(texts(0))), texts, taken)

    log = lambda: LogisticRegression(max_iter=300)  # noqa: E731
    yield word("tf-idf", lambda: make_pipeline(TfidfVectorizer(), log()))
    yield word("tf-idf of pairs", lambda: make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), log()))
    yield word("counts", lambda: make_pipeline(CountVectorizer(), MultinomialNB()))
    yield word(
        "tf-idf with one-letter words", lambda: make_pipeline(TfidfVectorizer(token_pattern=r"(?u)\b\w+\b"), log())
    )
    yield word("tf-idf, upper case kept", lambda: make_pipeline(TfidfVectorizer(lowercase=False), log()))
    yield word("tf-idf, sublinear", lambda: make_pipeline(TfidfVectorizer(sublinear_tf=True, norm="l1"), log()))
    yield word("stop words", lambda: make_pipeline(TfidfVectorizer(stop_words=["on", "red"]), log()))
    yield word(
        "stop words and pairs", lambda: make_pipeline(TfidfVectorizer(stop_words=["on"], ngram_range=(1, 2)), log())
    )
    yield word("characters", lambda: make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), log()))
    yield word(
        "characters in words", lambda: make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)), log())
    )
    yield word("accents stripped", lambda: make_pipeline(TfidfVectorizer(strip_accents="unicode"), log()))
    yield word("own tokenizer", lambda: make_pipeline(TfidfVectorizer(tokenizer=str.split, token_pattern=None), log()))
    yield word("tf-idf, linear SVC", lambda: make_pipeline(TfidfVectorizer(), LinearSVC()))
    yield word(
        "union of counts",
        lambda: make_pipeline(FeatureUnion([("a", CountVectorizer()), ("b", TfidfVectorizer())]), log()),
    )
    yield word(
        "in a column", lambda: make_pipeline(ColumnTransformer([("t", TfidfVectorizer(), "text")]), log()), column=True
    )


def _of_boosters() -> Iterator[Case]:
    import catboost as cb
    import lightgbm as lgb
    import xgboost as xgb
    from sklearn.ensemble import StackingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    quiet = {"n_estimators": 30, "verbose": -1}
    light = lambda **k: lgb.LGBMClassifier(**quiet, **k)  # noqa: E731
    cat = lambda kind, **k: kind(iterations=30, depth=4, verbose=0, allow_writing_files=False, random_seed=0, **k)  # noqa: E731
    for label, of in (("two classes", "two"), ("three classes", "three")):
        codes_of = of if of == "two" else "three"
        yield _number(f"lightgbm, {label}", light, codes_of)
        yield _number(f"catboost, {label}", lambda: cat(cb.CatBoostClassifier), codes_of)
    yield _number("xgboost, two classes", lambda: xgb.XGBClassifier(n_estimators=30))
    yield _client(
        "xgboost, three classes", lambda: make_pipeline(prepared(), xgb.XGBClassifier(n_estimators=20)), three
    )
    yield _number("xgboost with missing values", lambda: xgb.XGBClassifier(n_estimators=30), rows=holes)
    yield _number("lightgbm with missing values", light, rows=holes)
    yield _number("catboost with missing values", lambda: cat(cb.CatBoostClassifier), rows=holes)
    yield _number("xgboost regression", lambda: xgb.XGBRegressor(n_estimators=30), "value")
    yield _number("xgboost, Poisson", lambda: xgb.XGBRegressor(n_estimators=30, objective="count:poisson"), "positive")
    yield _number("xgboost, gamma", lambda: xgb.XGBRegressor(n_estimators=30, objective="reg:gamma"), "positive")
    yield _number("xgboost, dart", lambda: xgb.XGBClassifier(n_estimators=10, booster="dart", rate_drop=0.3))
    yield _number("xgboost, linear", lambda: xgb.XGBClassifier(n_estimators=10, booster="gblinear"))
    yield _number("xgboost forest", lambda: xgb.XGBRFClassifier(n_estimators=20))
    yield _number("xgboost, zeros missing", lambda: xgb.XGBClassifier(n_estimators=10, missing=0))
    yield _number("lightgbm regression", lambda: lgb.LGBMRegressor(**quiet), "value")
    yield _number("lightgbm, Poisson", lambda: lgb.LGBMRegressor(objective="poisson", **quiet), "positive")
    yield _number("lightgbm, roots", lambda: lgb.LGBMRegressor(reg_sqrt=True, **quiet), "value")
    yield _number("lightgbm, forest", lambda: light(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7))
    yield _number("lightgbm, dart", lambda: light(boosting_type="dart"))
    yield _number("lightgbm, linear trees", lambda: lgb.LGBMRegressor(linear_tree=True, **quiet), "value")
    yield _number("lightgbm, zeros missing", lambda: light(zero_as_missing=True), rows=holes)
    yield _number("catboost regression", lambda: cat(cb.CatBoostRegressor), "value")
    yield Case(
        "lightgbm with categories",
        lambda: light().fit(values(codes(0)), coded(codes(0)), categorical_feature=[5]),
        codes,
        values,
    )
    yield _number(
        "xgboost, float64 rows, double+cast",
        lambda: xgb.XGBClassifier(n_estimators=30),
        exact=False,
        precision="double+cast",
    )
    yield _number("lightgbm, float64 rows, double+cast", light, exact=False, precision="double+cast")
    yield _client(
        "scaler, xgboost",
        lambda: make_pipeline(prepared(), xgb.XGBClassifier(n_estimators=30)),
        lambda r: (churn(r) == "stays").astype(int),
    )
    yield _client("scaler, lightgbm", lambda: make_pipeline(prepared(), light()))
    yield _client(
        "scaler, lightgbm, float64 rows",
        lambda: make_pipeline(prepared(), light()),
        rows=raw_clients,
        exact=False,
        precision="double+cast",
    )
    yield _client("scaler, catboost", lambda: make_pipeline(prepared(), cat(cb.CatBoostClassifier)))
    yield _client(
        "scaler, xgboost regression", lambda: make_pipeline(prepared(), xgb.XGBRegressor(n_estimators=30)), spend
    )
    yield _client(
        "stacked boosters",
        lambda: make_pipeline(prepared(), StackingClassifier([("x", light()), ("l", LogisticRegression())], cv=3)),
    )

    def frame(kind: Any, **more: Any) -> Callable[[], Any]:
        def make() -> Any:
            rows = clients(0)[[*NUMBERS, "visits"]]
            return kind(**more).fit(rows, (churn(clients(0)) == "stays").astype(int))

        return make

    def few(seed: int) -> pd.DataFrame:
        return clients(seed)[[*NUMBERS, "visits"]]

    yield Case("xgboost of named columns", frame(xgb.XGBClassifier, n_estimators=20), few, as_is)
    yield Case("lightgbm of named columns", frame(lgb.LGBMClassifier, **quiet), few, as_is)
    yield Case(
        "catboost of named columns",
        frame(cb.CatBoostClassifier, iterations=20, verbose=0, allow_writing_files=False),
        few,
        as_is,
    )

    def categories(seed: int) -> pd.DataFrame:
        return clients(seed).astype({"city": "category", "plan": "category"})

    yield Case("xgboost of pandas categories", lambda: xgb.XGBClassifier(n_estimators=10, enable_categorical=True).fit(
        categories(0), (churn(clients(0)) == "stays").astype(int)), clients, categories_of)  # fmt: skip
    yield Case(
        "lightgbm of pandas categories", lambda: light().fit(categories(0), churn(clients(0))), clients, categories_of
    )
    yield Case("catboost with cat_features", lambda: cat(cb.CatBoostClassifier, cat_features=["city", "plan"]).fit(
        clients(0), churn(clients(0))), clients, as_is)  # fmt: skip


def categories_of(rows: pd.DataFrame) -> Any:
    return rows.astype({"city": "category", "plan": "category"})
