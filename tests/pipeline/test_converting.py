"""Whole conversions: real environments from the package index, real models, the real gate."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.models.contract import read_contract
from tests.conftest import DEVELOPER
from tests.support.apt_repository import Key
from tests.support.locked import Locked, locked

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.apt]

SAMPLE = 'sample = "holdout.csv"\ndrop = ["churned"]\n'
LINEAR = f'[models.linear]\nsource = "linear.skops"\n{SAMPLE}consumers = ["java-1.17"]\n'
BOOSTED = f'[models.boosted]\nsource = "boosted.skops"\n{SAMPLE}'


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, archive_key: Key, shared_cache: Cache
) -> Iterator[Locked]:  # fmt: skip
    with locked(tmp_path_factory.mktemp("locked"), archive_key, shared_cache, DEVELOPER) as made:
        yield made


@pytest.fixture
def here(world: Locked) -> Iterator[Locked]:
    yield world
    for pattern in ("*.onnx", "*.contract.json", "*.parity.*"):
        for file in world.root.glob(pattern):
            file.unlink()


def test_a_pipeline_from_skops_to_files(here: Locked) -> None:
    """Converted, not converted again, found stale when the sample moves; the same bytes when it is made anew."""
    here.models(LINEAR)
    done = here.run("convert")
    assert done.code == 0, done
    onnx = here.root / "linear.onnx"
    digest = Digest.of(onnx.read_bytes())
    assert done.out == f"{digest}  linear.onnx\n"
    assert "rows compared under onnxruntime 1.17.3, labels the same" in done.err

    contract = read_contract(here.root / "linear.contract.json")
    assert contract.digest == digest
    assert contract.runtime.consumers == ("java-1.17",)
    assert [feature.name for _, _, feature in contract.features] == ["tenure", "Monthly Charges", "contract"]
    assert contract.rows == 10
    assert contract.sources.model == Digest.of((here.root / "linear.skops").read_bytes())
    assert contract.sources.data == Digest.of((here.root / "holdout.csv").read_bytes())
    assert contract.sources.lock == Digest.of((here.root / "requirements.lock").read_bytes())
    parity = json.loads((here.root / "linear.parity.json").read_text())
    assert (parity["passed"], parity["runtimes"][0]["version"]) == (True, "1.17.3")
    assert parity["runtimes"][0]["wheel"].startswith("sha256:")
    assert parity["isolation"] in ("network namespace", "none")
    assert "<svg" in (here.root / "linear.parity.html").read_text()

    before = onnx.stat().st_mtime_ns
    assert here.run("convert", "--check").code == 0
    again = here.run("convert", "--json")
    assert (again.json["models"][0]["digest"], again.json["models"][0]["written"]) == (digest, False)
    assert "linear: up to date" in again.err
    assert onnx.stat().st_mtime_ns == before
    assert here.run("plan").code == 0

    sample = here.root / "holdout.csv"
    text = sample.read_text()
    sample.write_text(text + "1,2.5,month,stays\n")
    stale = here.run("convert", "--check")
    assert (stale.code, stale.out) == (4, "")
    assert "linear.onnx: is stale: the sample changed since it was converted" in stale.err
    sample.write_text(text)
    assert here.run("convert", "--check").code == 0
    anew = here.run("convert", "--anew", environ={"PYTHONHASHSEED": "7"})
    assert anew.out == f"{digest}  linear.onnx\n"
    assert here.leftovers() == []


def test_it_needs_no_index_when_the_cache_is_filled(here: Locked) -> None:
    here.models(LINEAR)
    assert here.run("convert").code == 0
    done = here.run("convert", "--anew", environ={"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_FIND_LINKS": ""})
    assert done.code == 0, done


def test_scores_that_differ_are_refused_with_the_worst_rows(here: Locked) -> None:
    """Of a tolerance that no float32 keeps: only the report is left, and nothing of the conversion before."""
    here.models(BOOSTED + "tolerance = { absolute = 1e-12, relative = 0 }\n")
    (here.root / "boosted.onnx").write_text("of an earlier conversion")
    done = here.run("convert")
    assert (done.code, done.out) == (4, "")
    assert "error: the model boosted scores differently in ONNX:" in done.err
    assert "expected" in done.err
    assert "Monthly Charges = " in done.err
    assert "boosted.parity.html" in done.err
    assert sorted(path.name for path in here.root.glob("boosted.*")) == [
        "boosted.parity.html", "boosted.parity.json", "boosted.skops",
    ]  # fmt: skip
    assert here.run("plan").code == 4


def test_an_interrupted_conversion_leaves_nothing(here: Locked) -> None:
    here.models(LINEAR)
    for after in (1.5, 5.0):
        done = here.interrupt("convert", after=after)
        assert here.leftovers() == []
        written = len(
            [*here.root.glob("linear.onnx"), *here.root.glob("linear.*.json"), *here.root.glob("linear.*.html")]
        )
        # on a fast machine it may be done by then
        assert (done.code, done.out, written) == (130, "", 0) or (done.code, written) == (0, 4), done


def test_explain_shows_every_step(here: Locked) -> None:
    here.models(LINEAR + BOOSTED)
    done = here.run("convert", "--explain", "--model", "linear")
    assert done.code == 0, done
    assert "sklearn.preprocessing._encoders.OneHotEncoder" in done.out
    assert "boosted" not in done.out
    assert not (here.root / "linear.onnx").exists()


def test_a_step_that_can_t_be_converted_is_named(here: Locked) -> None:
    here.write(
        "odd.py",
        "from sklearn.neighbors import NearestCentroid\nfrom train import data, pipeline\n\n"
        "def fit():\n    return pipeline(NearestCentroid())\n",
    )
    here.models(f'[models.odd]\nentry = "odd:fit"\n{SAMPLE}')
    explained = here.run("convert", "--explain", "--json")
    assert explained.code == 4, explained
    steps = {step["class"]: step["status"] for step in explained.json["models"][0]["steps"]}
    assert [kind for kind, status in steps.items() if status == "refused"] == [
        "sklearn.neighbors._nearest_centroid.NearestCentroid"
    ]
    done = here.run("convert")
    assert done.code == 4
    assert "nearestcentroid" in done.err


def test_an_entry_point_and_a_pinned_pickle(here: Locked) -> None:
    digest = hashlib.sha256((here.root / "linear.pkl").read_bytes()).hexdigest()
    pickled = f'[models.pickled]\nsource = "linear.pkl"\nallow-pickle = true\nsha256 = "{digest}"\n{SAMPLE}'
    here.models(f'[models.entered]\nentry = "train:linear"\n{SAMPLE}' + pickled)
    done = here.run("convert", "--json")
    assert done.code == 0, done
    assert [one["name"] for one in done.json["models"]] == ["entered", "pickled"]
    assert not (here.root / "__pycache__").exists()
    here.write("train.py", (here.root / "train.py").read_text() + "\n")
    assert "entry train:linear changed since it was converted" in here.run("convert", "--check").err


# bad input


class Payload:
    """A pickle that writes a file as it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.file,))


def test_a_pickle_that_runs_code_has_not_run(here: Locked) -> None:
    ran = here.folder / "ran"
    (here.root / "bad.pkl").write_bytes(pickle.dumps(Payload(ran)))
    for keys in ("", "allow-pickle = true\n", f'allow-pickle = true\nsha256 = "{"0" * 64}"\n'):
        here.models(f'[models.bad]\nsource = "bad.pkl"\n{keys}{SAMPLE}')
        for words in (["convert"], ["convert", "--explain"], ["plan"]):
            done = here.run(*words)
            assert done.code == 4, done
    assert not ran.exists()


def test_a_skops_file_with_types_of_its_own(here: Locked) -> None:
    here.write("own.py", "from sklearn.preprocessing import StandardScaler\n\nclass Scaler(StandardScaler): ...\n")
    here.write(
        "own_train.py",
        "import skops.io\nfrom own import Scaler\nfrom train import linear\n\nmodel = linear()\n"
        "model.steps.insert(1, ('own', Scaler().fit([[0.0] * 5, [1.0] * 5])))\nskops.io.dump(model, 'own.skops')\n",
    )
    here.trained("own_train.py")
    here.models(f'[models.own]\nsource = "own.skops"\n{SAMPLE}')
    done = here.run("convert")
    assert done.code == 4
    assert "holds types that are not trusted: own.Scaler" in done.err
    assert 'trusted = ["own.Scaler"]' in done.err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip at all", "truncated"])
def test_a_file_that_is_no_skops(here: Locked, content: bytes | str) -> None:
    whole = (here.root / "linear.skops").read_bytes()
    (here.root / "bad.skops").write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    here.models(f'[models.bad]\nsource = "bad.skops"\n{SAMPLE}')
    done = here.run("convert")
    assert done.code == 4
    assert "error: bad.skops: the model bad" in done.err


def test_a_model_of_another_scikit_learn(here: Locked) -> None:
    """As a file of another version has it: the version stands in skops' schema."""
    with zipfile.ZipFile(here.root / "linear.skops") as old, zipfile.ZipFile(here.root / "old.skops", "w") as new:
        for one in old.namelist():
            content = old.read(one)
            if one == "schema.json":
                content = _with_version(content.decode(), "1.2.0").encode()
            new.writestr(one, content)
    here.models(f'[models.old]\nsource = "old.skops"\n{SAMPLE}')
    done = here.run("convert")
    assert done.code == 4, done
    assert "was made by scikit-learn 1.2.0; the lock has" in done.err


def _with_version(schema: str, version: str) -> str:
    pattern = r'("_sklearn_version": \{[^{}]*?"content": )"[^{}]*?",'
    changed, count = re.subn(pattern, lambda found: f'{found[1]}"\\"{version}\\"",', schema)
    assert count, schema[:2000]
    return changed


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("contract,", 4, "holdout-bad.csv: lacks the column 'contract', which the model linear was trained on"),
        ("empty", 4, "error: holdout-bad.csv: is empty"),
        ("text", 4, "error: holdout-bad.csv:3: column 'tenure': 'many' is no number"),
        ("gone", 2, "the sample is not there"),
    ],
)
def test_samples_that_don_t_fit(here: Locked, change: str, code: int, said: str) -> None:
    text = (here.root / "holdout.csv").read_text()
    header, first, second, rest = text.split("\n", 3)
    file = here.root / "holdout-bad.csv"
    file.unlink(missing_ok=True)
    if change == "contract,":
        file.write_text(text.replace("contract", "kontrakt", 1))
    elif change == "empty":
        file.write_text("")
    elif change == "text":
        file.write_text("\n".join([header, first, "many" + second[second.index(",") :], rest]))
    here.models(LINEAR.replace("holdout.csv", "holdout-bad.csv"))
    done = here.run("convert")
    assert done.code == code, done
    assert said in done.err
    assert not (here.root / "linear.onnx").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (LINEAR.replace("java-1.17", "ort-1.17.9"), "ort-1.17.9: no onnxruntime 1.17.9 was ever released"),
        (LINEAR.replace("java-1.17", "ort-99.0"), "there is no onnxruntime 99.0 that this lockship knows"),
        (LINEAR.replace("java-1.17", "java-0.4"), "reads no operator set"),
        (LINEAR.replace("java-1.17", "jvm-1.17"), "not a consumer: 'jvm-1.17'"),
        (LINEAR.replace(SAMPLE, ""), "has no sample to compare scores on"),
        ('[models.a]\nsource = "a.onnx"\n', "the project has no model to convert"),
    ],
)
def test_projects_that_can_t_be_converted(here: Locked, model: str, said: str) -> None:
    here.models(model)
    done = here.run("convert")
    assert done.code == 2, done
    assert said in done.err


def test_models_that_are_not_there(here: Locked) -> None:
    here.models(LINEAR)
    done = here.run("convert", "--model", "linaer")
    assert (done.code, "there is no model 'linaer'" in done.err) == (2, True)
    done = here.run("convert", "--check", "--anew")
    assert done.code == 2


def test_a_stale_lock(here: Locked) -> None:
    here.models(LINEAR)
    asked = here.root / "requirements.in"
    text = asked.read_text()
    asked.write_text(text + "numpy\n")
    try:
        done = here.run("convert")
    finally:
        asked.write_text(text)
    assert done.code == 3, done
