from __future__ import annotations

import io
import re
import zipfile
from typing import Any
from xml.etree import ElementTree

import pytest

from builder.errors import ModelError, UsageError
from builder.models.consumers.dotnet import DotnetProject, package_of, render_dotnet
from builder.models.contract import Contract, Feature, Input, Output, Runtime
from tests.support.contracts import MODEL, contract_of, small

HOSTILE = '*/ "quotes" \\u0022 </summary>\r\n#error\u2028#error\u0085]]>--><b> $(Path);%41 `|`'


def rendered(contract: Contract | None = None, **wishes: Any) -> DotnetProject:
    contract = contract or small()
    return render_dotnet(contract, MODEL, package_of(contract, **wishes))


def text(project: DotnetProject, name: str) -> str:
    (found,) = [path for path in project.files if path.endswith(f"/{name}")]
    return project.files[found].decode()


def package(project: DotnetProject) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(project.files[project.nupkg]))


def test_a_project_has_a_library_its_tests_and_a_package() -> None:
    project = rendered(package="Acme.Churn")
    assert list(project.files) == [
        ".gitignore",
        "Acme.Churn.1.4.0.nupkg",
        "README.md",
        *(f"src/Acme.Churn/{name}" for name in (
            "Acme.Churn.csproj", "ChurnInput.cs", "ChurnModel.cs", "ChurnResult.cs", "ChurnSelfTest.cs",
            "ChurnTensors.cs", "README.md", "contract.json", "model.onnx",
        )),
        "tests/Acme.Churn.Tests/Acme.Churn.Tests.csproj",
        "tests/Acme.Churn.Tests/ContractTests.cs",
    ]  # fmt: skip
    assert project.client == "Acme.Churn.ChurnModel"
    assert project.files["src/Acme.Churn/model.onnx"] == MODEL


def test_the_same_contract_gives_the_same_bytes() -> None:
    assert rendered().files == rendered().files


def test_rows_have_a_property_for_each_column() -> None:
    source = text(rendered(), "ChurnInput.cs")
    assert re.findall(r"public (\S+ \w+)(?=\n| \{)", source) == ["double? Age", "long Visits", "string Plan"]
    assert (
        "/// <remarks>What was booked. Known: 'basic', 'full'. Others are refused. May not be missing.</remarks>"
        in source
    )
    assert "/// <remarks>In years. May be missing: null.</remarks>" in source


def test_results_have_a_property_for_each_output() -> None:
    source = text(rendered(), "ChurnResult.cs")
    assert "public string Label { get; }" in source
    assert "public IReadOnlyList<float> Probabilities { get; }" in source
    assert "public float ProbabilityOf(string label)" in source


def test_outputs_that_mean_the_same_are_called_by_their_names() -> None:
    inputs = (Input(name="x", type="float64", features=(Feature(name="x"),)),)
    outputs = tuple(Output(name=name, type="float64", meaning="value") for name in ("low", "value-of", "equals"))
    contract = contract_of(inputs, outputs, [[(1.5,)]], [[(1.0,), (2.0,), (3.0,)]])
    source = text(rendered(contract), "ChurnResult.cs")
    assert re.findall(r"public double (\w+) \{ get; \}", source) == ["Low", "ValueOf", "Equals_"]
    assert "ProbabilityOf" not in source


def test_an_array_model_takes_values_without_names_too() -> None:
    features = tuple(Feature(name=f"pixel {number}") for number in range(3))
    inputs = (Input(name="features", type="float32", features=features),)
    outputs = (Output(name="label", type="int64", meaning="label", classes=(0, 1)),)
    project = rendered(contract_of(inputs, outputs, [[(1.0, 2.0, 3.0)]], [[(1,)]]))
    assert "FromValues(IReadOnlyList<double> values)" in text(project, "ChurnInput.cs")
    assert "_tensor0[at * 3 + 1] = Single(row._pixel1, false, " in text(project, "ChurnTensors.cs")
    assert "FromValues" not in text(rendered(), "ChurnInput.cs")


def test_golden_rows_are_read_back_as_they_are() -> None:
    source = text(rendered(), "ChurnSelfTest.cs")
    # a missing value is left out, as a user would
    assert re.findall(r"(?<=ChurnInput\n)\s+\{([^}]*)\}", source)[1].split() == [
        "Visits",
        "=",
        "4L,",
        "Plan",
        "=",
        '"full",',
    ]
    assert "Age = 0.1f," in source
    assert "new float[] { 0.125f, 0.875f }" in source
    assert "AbsoluteTolerance = 1e-05d" in source


def test_golden_rows_that_dotnet_cannot_pass_on_are_left_out_and_told() -> None:
    inputs = (Input(name="x", type="string", features=(Feature(name="x"),)),)
    outputs = (Output(name="y", type="float32", meaning="value"),)
    project = rendered(contract_of(inputs, outputs, [[("a\0b",)], [("c",)]], [[(1.0,)], [(2.0,)]]))
    assert project.notices == ("1 of 2 golden rows hold what .NET can't pass on: not in the self-test",)
    assert "a\\u0000b" not in text(project, "ChurnSelfTest.cs")
    with pytest.raises(ModelError, match="no golden rows that the client would take"):
        rendered(contract_of(inputs, outputs, [[("a\0b",)]], [[(1.0,)]]))


def test_columns_that_would_share_a_property_are_told() -> None:
    inputs = tuple(
        Input(name=f"i{number}", type="int64", features=(Feature(name=name),))
        for number, name in enumerate(("total charges", "TotalCharges", "total_charges"))
    )
    outputs = (Output(name="y", type="float32", meaning="value"),)
    project = rendered(contract_of(inputs, outputs, [[(1,), (2,), (3,)]], [[(2.0,)]]))
    assert "TotalCharges_" in text(project, "ChurnInput.cs")
    assert project.notices[0].startswith("the columns 'total charges', 'TotalCharges', 'total_charges' would share")
    assert project.notices[0].replace("_", "\\_") in text(project, "Churn.csproj") + project.files["README.md"].decode()


@pytest.mark.parametrize("missing", ["nan", "empty"])
def test_a_missing_value_that_its_tensor_cannot_hold_is_refused(missing: Any) -> None:
    inputs = (Input(name="x", type="int64", features=(Feature(name="x", missing=missing),)),)
    outputs = (Output(name="y", type="float32", meaning="value"),)
    with pytest.raises(ModelError, match="the column 'x' says that a missing value is written as"):
        rendered(contract_of(inputs, outputs, [[(1,)]], [[(1.0,)]]))


def test_hostile_words_stay_in_their_place() -> None:
    """What the compiler says of such names is in test_dotnet_real; this is where they may be at all."""
    feature = Feature(name=HOSTILE, categories=(HOSTILE,), unseen="refused", description=HOSTILE, unit=HOSTILE)
    inputs = (Input(name=HOSTILE, type="string", features=(feature,)),)
    outputs = (Output(name=HOSTILE, type="string", meaning="label", classes=(HOSTILE,)),)
    contract = contract_of(
        inputs, outputs, [[(HOSTILE,)]], [[(HOSTILE,)]], name=HOSTILE, description=HOSTILE,
    )  # fmt: skip
    project = rendered(contract, package="Acme", authors=HOSTILE)
    for path, data in project.files.items():
        if path.endswith(".cs"):
            assert not re.search("[\r\u0085\u2028]", data.decode()), path
            assert "#error" not in re.sub(r"//.*|\"(\\.|[^\"\\])*\"", "", data.decode()), path
            for comment in re.findall(r"/// (<(?:summary|remarks)>.*)", data.decode()):
                if comment.endswith(">") and "</" in comment:
                    ElementTree.fromstring(comment)
        elif path.endswith(".csproj"):
            root = ElementTree.fromstring(data)
            description = root.findtext("PropertyGroup/Description")
            assert description is None or not set("$%;") & set(re.sub("%[0-9a-f]{2}", "", description))
    with package(project) as archive:
        nuspec = ElementTree.fromstring(archive.read("Acme.nuspec"))
        said = nuspec.findtext("{*}metadata/{*}description")
        assert said is not None and said.replace(" ", "") == re.sub(r"\s", "", HOSTILE)


@pytest.mark.parametrize(
    ("version", "normal"),
    [
        ("1.4.0", "1.4.0"),
        ("v1.4", "1.4.0"),
        ("01.4.0.0", "1.4.0"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.4.0-3-gabc123", "1.4.0-3-gabc123"),
        ("1.4.0-rc.1+build5", "1.4.0-rc.1"),
    ],
)
def test_versions_are_written_as_nuget_does(version: str, normal: str) -> None:
    assert package_of(small(), version=version).file == f"Churn.{normal}.nupkg"


@pytest.mark.parametrize("version", ["1", "2024_01", "1.4.0-", "1.4.0-a..b", "1.4.x", "latest"])
def test_versions_that_nuget_does_not_take(version: str) -> None:
    with pytest.raises(UsageError, match="NuGet takes no version like") as caught:
        package_of(small(version=version))
    assert caught.value.hint == "name one: --version 1.4.0"


@pytest.mark.parametrize("name", ["Acme Churn", "Acme..Churn", ".Acme", "Größe", "a/b", "", "a" * 101, "a\nb"])
def test_ids_that_nuget_does_not_take(name: str) -> None:
    if name:
        with pytest.raises(UsageError, match="not a NuGet package id"):
            package_of(small(), package=name)
    else:
        assert package_of(small(), package=name).id == "Churn"


@pytest.mark.parametrize(("name", "id"), [("churn-model", "Churn"), ("model", "Model"), ("年龄", "OnnxModel")])
def test_the_id_is_what_the_classes_begin_with(name: str, id: str) -> None:
    assert package_of(small(name=name)).id == id
    assert rendered(small(name=name)).nupkg == f"{id}.1.4.0.nupkg"


@pytest.mark.parametrize(
    ("id", "namespace"),
    [
        ("Acme.Churn", "Acme.Churn"),
        ("acme-risk.churn", "acme_risk.churn"),
        ("Acme.System", "Acme.System_"),
        ("class.3d", "class_._3d"),
        ("ChurnModel", "ChurnModel_"),
    ],
)
def test_namespaces(id: str, namespace: str) -> None:
    assert rendered(package=id).client == f"{namespace}.ChurnModel"


@pytest.mark.parametrize(
    ("consumers", "asked", "chosen"),
    [
        (("dotnet-1.20", "java-1.17"), None, "1.20.0"),
        (("dotnet-1.20", "dotnet-1.18.1"), None, "1.18.1"),
        (("java-1.17",), None, "1.14.0"),
        ((), "1.31.1", "1.31.1"),
    ],
)
def test_the_runtime_that_a_package_depends_on(consumers: tuple[str, ...], asked: str | None, chosen: str) -> None:
    runtime = Runtime(opset=17, ml_opset=3, ir=8, minimum="1.14", consumers=consumers)
    project = rendered(small(runtime=runtime), runtime=asked)
    assert f'<PackageReference Include="Microsoft.ML.OnnxRuntime" Version="{chosen}" />' in text(
        project, "Churn.csproj"
    )
    with package(project) as archive:
        assert f'version="{chosen}"' in archive.read("Churn.nuspec").decode()


@pytest.mark.parametrize("asked", ["1.20", "latest", "1.13.1"])
def test_runtimes_that_cannot_be(asked: str) -> None:
    with pytest.raises(UsageError, match=r"not a release|can't read churn: it needs 1.14"):
        package_of(small(), runtime=asked)


def test_a_model_for_no_runtime_that_is_known() -> None:
    runtime = Runtime(opset=99, ir=99, minimum="newer than 1.32")
    with pytest.raises(ModelError, match="churn needs an onnxruntime newer than"):
        package_of(small(runtime=runtime))


def test_a_package_is_an_opc_package() -> None:
    """ECMA-376 part 2: every part has a content type, relations lead to parts, names differ in more than case."""
    with package(rendered()) as archive:
        names = archive.namelist()
        types = {
            one.get("Extension"): one.get("ContentType")
            for one in ElementTree.fromstring(archive.read("[Content_Types].xml"))
        }
        relations = {
            str(one.get("Type")).rpartition("/")[2]: str(one.get("Target"))
            for one in ElementTree.fromstring(archive.read("_rels/.rels"))
        }
        assert archive.read("model/model.onnx") == MODEL
        core = ElementTree.fromstring(archive.read(relations["core-properties"].lstrip("/")))
    assert len({name.lower() for name in names}) == len(names)
    assert {name.rpartition(".")[2] for name in names if name != "[Content_Types].xml"} == set(types)
    assert types["rels"] == "application/vnd.openxmlformats-package.relationships+xml"
    assert types["psmdcp"] == "application/vnd.openxmlformats-package.core-properties+xml"
    assert relations["manifest"] == "/Churn.nuspec"
    assert {target.lstrip("/") for target in relations.values()} <= set(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+|\[Content_Types\]\.xml", name) for name in names)
    assert core.findtext("{*}identifier") == "Churn"
    assert core.findtext("{*}version") == "1.4.0"


def test_a_package_brings_sources_that_stay_inside_and_the_model() -> None:
    project = rendered()
    with package(project) as archive:
        targets = ElementTree.fromstring(archive.read("build/Churn.targets"))
        (resource,) = targets.iter("EmbeddedResource")
        assert resource.get("LogicalName") == "Churn.model.onnx"
        assert resource.get("Include") == "$(MSBuildThisFileDirectory)../model/model.onnx"
        source = archive.read("contentFiles/cs/any/Churn/ChurnModel.cs").decode()
        assert archive.read("README.md") == project.files["README.md"]
        assert archive.read("contract.json") == small().to_json()
    assert "internal sealed partial class ChurnModel : IDisposable" in source
    assert "public sealed partial class ChurnModel : IDisposable" in text(project, "ChurnModel.cs")
    assert source.replace("internal sealed", "public sealed") == text(project, "ChurnModel.cs")


# nuspec.xsd: what `metadata` may hold, each at most once, and the attributes of what lies deeper
METADATA = {
    "id", "version", "title", "authors", "owners", "licenseUrl", "projectUrl", "iconUrl", "requireLicenseAcceptance",
    "developmentDependency", "description", "summary", "releaseNotes", "copyright", "language", "tags", "serviceable",
    "repository", "license", "packageTypes", "dependencies", "frameworkAssemblies", "frameworkReferences", "references",
    "contentFiles", "icon",
}  # fmt: skip
REQUIRED = {"id", "version", "authors", "description"}
ATTRIBUTES = {
    "repository": ({"type", "url", "branch", "commit"}, set[str]()),
    "group": ({"targetFramework"}, set[str]()),
    "dependency": ({"id", "version", "include", "exclude"}, {"id"}),
    "files": ({"include", "exclude", "buildAction", "copyToOutput", "flatten"}, {"include"}),
}


def test_the_nuspec_follows_its_schema() -> None:
    """By the rules that it states; NuGet's own validation is in test_dotnet_real."""
    space = "{http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd}"
    with package(rendered()) as archive:
        root = ElementTree.fromstring(archive.read("Churn.nuspec"))
        names = archive.namelist()
    (metadata,) = root
    assert (root.tag, metadata.tag) == (f"{space}package", f"{space}metadata")
    found = [one.tag.removeprefix(space) for one in metadata]
    assert len(set(found)) == len(found)
    assert REQUIRED <= set(found) <= METADATA
    for element in metadata.iter():
        name = element.tag.removeprefix(space)
        allowed, needed = ATTRIBUTES.get(name, ({"minClientVersion"} if element is metadata else set(), set()))
        assert needed <= set(element.attrib) <= allowed, name
    compiled = [one.get("include") for one in metadata.iter(f"{space}files")]
    assert {f"contentFiles/{path}" for path in compiled} == {name for name in names if name.startswith("contentFiles/")}


def test_the_readme_shows_a_row_that_scores() -> None:
    readme = rendered().files["README.md"].decode()
    assert '    Age = 0.1,\n    Visits = 3,\n    Plan = "basic",\n' in readme
    assert "| `Age` | `double?` | `age` | In years. May be missing: null. |" in readme
    assert "`Microsoft.ML.OnnxRuntime` 1.20.0 or newer" in readme
