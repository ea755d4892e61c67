"""Data sets as they lie there: real files of every kind, and a store that fsspec has in memory."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from builder.datakeys import Data
from builder.errors import LockshipError, ProjectError, StoreError, UsageError
from builder.pipeline.observing import observe, observe_live, observe_set
from builder.progress import Task
from builder.project import load_project
from builder.releases.datacheck import check_data
from builder.releases.datasets import DataSet
from tests.support.progress import Heard

pytestmark = pytest.mark.slow


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def look(root: Path, *paths: str) -> DataSet:
    return observe_set("training", Data(paths=paths), root)


def columns(found: DataSet) -> list[str]:
    assert found.columns is not None
    return [str(one) for one in found.columns]


def refused(kind: type[LockshipError], root: Path, *paths: str) -> str:
    with pytest.raises(kind) as caught:
        look(root, *paths)
    return f"{caught.value} | {caught.value.hint}"


def text(root: Path, content: bytes, name: str = "x.csv") -> DataSet:
    write(root, {name: content})
    return look(root, name)


def test_a_project(tmp_path: Path) -> None:
    write(tmp_path, {"data/train/1.csv": b"a,b\n1,x\n", "data/train/2.csv": b"a,b\n2,y\n", "data/all.bin": b"123"})
    (tmp_path / "lockship.toml").write_text(
        'name = "churn"\nversion = "1"\n[data]\n'
        'train = ["data/train/*.csv"]\nholdout = { paths = "data/all.bin", role = "reference", ship = true }\n'
    )
    heard = Heard()
    holdout, train = observe(load_project(tmp_path / "lockship.toml"), heard)
    assert str(holdout) == "holdout: 1 file, 3 B"
    assert (holdout.role, holdout.ship, holdout.sources) == ("reference", True, ("data/all.bin",))
    assert str(train) == "train: 2 rows, 2 columns, 2 files, 16 B"
    assert [one.path for one in train.files] == ["data/train/1.csv", "data/train/2.csv"]
    assert train.files[0].sha256 == hashlib.sha256(b"a,b\n1,x\n").hexdigest()
    assert [(one.done, one.total) for one in heard.steps] == [(3, 3), (16, 16)]


def test_types_of_text(tmp_path: Path) -> None:
    found = text(
        tmp_path,
        b"n,f,b,d,t,z,s,plate,large,none,mixed\n"
        b"1,1.5,true,2024-01-31,2024-01-31T10:00,2024-01-31 10:00:00.5Z,x,007,9223372036854775807,,1\n"
        b",,,,,,,,,NA,\n"
        b"-3,-inf,FALSE,2024-02-01,2024-01-31 24:00:00,2024-01-31T10:00+02:00,,1,9223372036854775808,NaN,x\n",
    )
    assert columns(found) == [
        "n int64", "f float64", "b bool", "d date", "t timestamp", "z timestamp[tz]", "s string", "plate string",
        "large string", "none null", "mixed string",
    ]  # fmt: skip
    assert found.rows == 3


@pytest.mark.parametrize(
    ("content", "form", "expected"),
    [
        (b"a;b\n1,5;2\n", "csv, delimiter ';'", ["a string", "b int64"]),
        (b"a\tb\n1\t2\n", "csv, delimiter '\\t'", ["a int64", "b int64"]),
        (b"a|b\r\n1|2\r\n", "csv, delimiter '|'", ["a int64", "b int64"]),
        (b'"a,x",b\n"1\n2",2\n', "csv", ["a,x string", "b int64"]),
        (b"5.1,3.5,Iris\n4.9,3.0,Iris\n", "csv, no header", ["column1 float64", "column2 float64", "column3 string"]),
        (b"1,2\n3,4\n", "csv, no header", ["column1 int64", "column2 int64"]),
        (b"country,2019,2020\nDE,1,2\n", "csv", ["country string", "2019 int64", "2020 int64"]),
        (b"a,a,,a\n1,2,3,4\n", "csv", ["a int64", "a.1 int64", "column3 int64", "a.2 int64"]),
        (b"\xef\xbb\xbfa\n1\n", "csv", ["a int64"]),
        (b"\n\na\n\n1\n", "csv", ["a int64"]),
        (b"a,b", "csv", ["a null", "b null"]),
        (b"a,b\n", "csv", ["a null", "b null"]),
        (b"a,b\n1,2", "csv", ["a int64", "b int64"]),
        ("größe,名前\n1,ü\n".encode(), "csv", ["größe int64", "名前 string"]),
        (b"", "csv", []),
    ],
    ids=str,
)
def test_dialects_and_headers(tmp_path: Path, content: bytes, form: str, expected: list[str]) -> None:
    found = text(tmp_path, content)
    assert (found.files[0].format, columns(found)) == (form, expected)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2\n3\n", "x.csv, row 3: 1 cells, but 2 columns"),
        (b"a,b\n1,secret,3\n", "x.csv, row 2: 3 cells, but 2 columns"),
        (b"a,b\n1,\xe9\n", "x.csv, line 2: is not UTF-8"),
        (b"a,b\n" + b"1,2\n" * 500_000 + b"1,\xe9secret\n", "x.csv, row 500002: is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "x.csv is UTF-16"),
        (b"a,b\n1,\0secret\n", "x.csv holds a NUL byte"),
        (b'a,b\n1,"2\n3,4\n', "x.csv: a quote is opened and not closed"),
        (b"a,b\n1," + b"secret" * 4_000_000, "x.csv has a row of more than 2 MB"),
    ],
    ids=["short", "long", "latin", "latin late", "utf-16", "nul", "quote", "megabytes"],
)
def test_text_that_is_no_table(tmp_path: Path, content: bytes, says: str) -> None:
    write(tmp_path, {"x.csv": content})
    told = refused(ProjectError, tmp_path, "x.csv")
    assert says in told
    assert "secret" not in told


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_packed_text(tmp_path: Path, ending: str) -> None:
    pack: Callable[[bytes], bytes] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[ending]
    packed = pack(b"a,b\n" + b"1,2\n" * 9999)
    found = text(tmp_path, packed, f"x.csv{ending}")
    assert (found.rows, found.files[0].format, columns(found)) == (9999, f"csv{ending}", ["a int64", "b int64"])
    assert found.files[0].sha256 == hashlib.sha256(packed).hexdigest()
    write(tmp_path, {f"cut.csv{ending}": packed[: len(packed) // 2], f"other.tsv{ending}": b"a\tb\n1\t2\n"})
    for name in (f"cut.csv{ending}", f"other.tsv{ending}"):
        assert f"is no {ending} file, or is damaged" in refused(ProjectError, tmp_path, name)


def test_parts_of_one_table_are_looked_at_as_one(tmp_path: Path) -> None:
    write(tmp_path, {"1.csv": b"a,b\n1,x\n", "2.csv": b"a,b\n1.5,\n", "3.csv": b"a,b\n,y\n", "other.csv": b"c\n1\n"})
    assert columns(look(tmp_path, "[123].csv")) == ["a float64", "b string"]
    both = look(tmp_path, "*.csv")
    assert both.columns is None
    assert [[str(column) for column in one.columns or ()] for one in both.files[-2:]] == [
        ["a float64", "b string"],
        ["c int64"],
    ]


def test_parquet_and_feather(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": pa.array([1, None], pa.int32()),
            "f": pa.array([1.5, 2], pa.float32()),
            "d": [1.5, 2.5],
            "s": pa.array(["x", "y"]).dictionary_encode(),
            "l": pa.array(["x", "y"], pa.large_string()),
            "t": pa.array([0, 1], pa.timestamp("us", "UTC")),
            "v": [[1], [2]],
        }
    )
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=1)
    feather.write_feather(table, tmp_path / "x.feather", chunksize=1)
    for name, form in (("x.parquet", "parquet"), ("x.feather", "feather")):
        found = look(tmp_path, name)
        assert (found.rows, found.files[0].format) == (2, form)
        assert columns(found) == [
            "n int32", "f float32", "d float64", "s categorical[string]", "l string", "t timestamp[us, tz=UTC]",
            "v list<int64>",
        ]  # fmt: skip
        assert found.files[0].sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert check_data([look(tmp_path, "x.parquet")], [look(tmp_path, "x.feather")]).ok


@pytest.mark.parametrize("name", ["x.parquet", "x.pq", "x.feather", "x.arrow"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"nonsense " * 99, None], ids=["empty", "short", "other", "cut"])
def test_columnar_files_that_are_damaged(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is None:
        whole = tmp_path / "whole"
        table = pa.table({"a": list(range(9999))})
        (parquet.write_table if "p" in name[-7:] and "feather" not in name else feather.write_feather)(table, whole)
        content = whole.read_bytes()[:-20]
    write(tmp_path, {name: content})
    kind = "Parquet" if name in ("x.parquet", "x.pq") else "Feather"
    assert f"{name} is no {kind} file, or is damaged" in refused(ProjectError, tmp_path, name)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    found = text(tmp_path, b"\0\1", "x.bin")
    assert (found.columns, found.rows, found.files[0].format) == (None, None, None)


def test_folders_and_globs(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "data/a.csv": b"a\n1\n", "data/year=2024/b.csv": b"a\n1\n", "data/.hidden": b"x", "data/.git/x": b"x",
            "data/_SUCCESS": b"", "data/odd[1].csv": b"a\n1\n",
        },
    )  # fmt: skip

    def names(*paths: str) -> list[str]:
        return [one.path for one in look(tmp_path, *paths).files]

    everything = ["data/_SUCCESS", "data/a.csv", "data/odd[1].csv", "data/year=2024/b.csv"]
    assert names("data") == names("./data/") == everything
    assert names("data/**/*.csv") == everything[1:]
    assert names("data/*.csv", "data/a.csv", "./data//a.csv") == ["data/a.csv", "data/odd[1].csv"]
    assert names("data/odd[1].csv") == ["data/odd[1].csv"]


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("x.csv", "*.csv", "empty", "emp*"):
        with pytest.raises(ProjectError, match="data set training: nothing is at") as caught:
            observe_set("training", Data(paths=(source,)), tmp_path, file=tmp_path / "lockship.toml")
        assert caught.value.file == str(tmp_path / "lockship.toml")


def test_nothing_outside_of_the_project(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(tmp_path, {"outside.csv": b"a\n1\n", "project/inside.csv": b"a\n1\n", "folder/x.csv": b"a\n1\n"})
    (root / "link.csv").symlink_to("../outside.csv")
    (root / "fine.csv").symlink_to("inside.csv")
    (root / "folder").symlink_to("../folder")
    (root / "lost.csv").symlink_to("nowhere.csv")
    os.mkfifo(root / "pipe.csv")
    assert look(root, "fine.csv").rows == 1
    assert "link.csv is a link that leaves the project" in refused(ProjectError, root, "link.csv")
    assert "is a link that leaves the project" in refused(ProjectError, root, "folder")
    assert "is a link that leaves the project" in refused(ProjectError, root, "folder/*.csv")
    assert "lost.csv is a link that leads nowhere" in refused(ProjectError, root, "lost.csv")
    assert "pipe.csv is neither a file nor a folder" in refused(ProjectError, root, "pipe.csv")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"x.csv": b"a\n1\n"})
    (tmp_path / "x.csv").chmod(0)
    assert "cannot read x.csv: Permission denied" in refused(ProjectError, tmp_path, "x.csv")


class _Meddling(Heard):
    """Does something to the data as soon as some of it was read."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__()
        self.meddle = meddle

    @contextmanager
    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> Iterator[Task]:  # type: ignore[override]
        with super().task(label, total, unit=unit) as step:
            plain = step.advance

            def advance(amount: int) -> None:
                plain(amount)
                self.meddle()

            step.advance = advance  # type: ignore[method-assign]
            yield step


@pytest.mark.parametrize("name", ["x.bin", "x.csv", "x.csv.gz", "x.parquet"])
@pytest.mark.parametrize("what", ["grows", "shrinks", "is touched", "is replaced"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / name
    if name == "x.parquet":
        parquet.write_table(pa.table({"a": [str(uuid.UUID(int=n)) for n in range(99_999)]}), path, compression=None)
    else:
        content = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(299_999))
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    def meddle() -> None:
        match what:
            case "grows":
                with path.open("ab") as file:
                    file.write(b"1,2\n")
            case "shrinks":
                os.truncate(path, path.stat().st_size // 2)
            case "is touched":
                os.utime(path, (1, 1))
            case "is replaced":
                other = path.with_name("other")
                other.write_bytes(path.read_bytes())
                os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
                other.replace(path)

    with pytest.raises((StoreError, ProjectError)) as caught:
        observe_set("training", Data(paths=(name,)), tmp_path, progress=_Meddling(meddle))
    assert isinstance(caught.value, StoreError) or what == "shrinks"
    if isinstance(caught.value, StoreError):
        assert f"{name} changed while it was read" in str(caught.value)


@pytest.fixture
def bucket() -> Iterator[str]:
    """An address in memory that nobody else uses."""
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    with suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


def put(bucket: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        fsspec.filesystem("memory").pipe(f"{bucket.removeprefix('memory:/')}/{name}", content)


def test_addresses(tmp_path: Path, bucket: str) -> None:
    parquet.write_table(pa.table({"a": [1, 2]}), tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    put(bucket, {"x.parquet": whole, "d/1.csv": b"a\n1\n", "d/2.csv": b"a\n2\n", "d/.x/3.csv": b"a\n"})
    heard = Heard()
    found = observe_set("training", Data(paths=(f"{bucket}/x.parquet",)), tmp_path, progress=heard)
    assert (found.rows, found.files[0].path) == (2, f"{bucket}/x.parquet")
    assert found.files[0].sha256 == hashlib.sha256(whole).hexdigest()
    assert heard.steps[0].done == len(whole)
    for source in (f"{bucket}/d/*.csv", f"{bucket}/d"):
        files = look(tmp_path, source).files
        assert [one.path.rpartition("/")[2] for one in files] == ["1.csv", "2.csv"]
        assert all(one.path.startswith("memory://") for one in files)
    assert "nothing is at" in refused(ProjectError, tmp_path, f"{bucket}/nothing.csv")
    assert "nothing is at" in refused(ProjectError, tmp_path, f"{bucket}/*.tsv")
    put(bucket, {"d/1.csv": b"a,b\n1\n"})
    assert f"{bucket}/d/1.csv, row 2: 1 cells" in refused(ProjectError, tmp_path, f"{bucket}/d/1.csv")


def test_addresses_that_lead_nowhere(tmp_path: Path) -> None:
    assert "nothing here knows nonsense://" in refused(UsageError, tmp_path, "nonsense://x/y.csv")
    told = refused(StoreError, tmp_path, "ftp://127.0.0.1:1/x.csv")
    assert "cannot read ftp://127.0.0.1:1/x.csv: Connection refused" in told


def test_packages_that_are_missing(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"x.csv": b"a\n1\n", "x.bin": b"1"})
    for name in ("s3fs", "pyarrow", "fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "x.csv are read with pyarrow" in refused(UsageError, tmp_path, "x.csv")
    assert "pip install 'lockship[data]'" in refused(UsageError, tmp_path, "x.csv")
    assert look(tmp_path, "x.bin").size == 1
    assert "needs fsspec" in refused(UsageError, tmp_path, f"{bucket}/x.bin")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    told = refused(UsageError, tmp_path, "s3://bucket/x.csv")
    assert "s3:// needs the package s3fs" in told
    assert "pip install s3fs" in told


def test_what_is_there_now(tmp_path: Path, bucket: str) -> None:
    put(bucket, {"x.csv": b"a,b\n1,2\n"})
    write(tmp_path, {"y.csv": b"a\n1\n"})
    far = observe_set("far", Data(paths=(f"{bucket}/*.csv",)), tmp_path)
    near = observe_set("near", Data(paths=("*.csv",), role="reference", ship=True), tmp_path)
    assert observe_live([far, near], tmp_path) == (far, near)
    assert observe_live([far, near], None) == (far,)
    put(bucket, {"x.csv": b"a\n1.5\n", "z.csv": b"a\n1\n"})
    (tmp_path / "y.csv").unlink()
    verdict = check_data([far, near], observe_live([far, near], tmp_path))
    assert [str(one) for one in verdict.incompatible] == [
        "column far.a was int64 and is float64",
        "column far.b is gone: it was int64",
        "data set near is gone: nothing at *.csv",
    ]
