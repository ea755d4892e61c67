"""Generated .NET clients under the real compiler, the real NuGet and the real onnxruntime."""

from __future__ import annotations

import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from builder.cache import Cache
from builder.models.consumers.dotnet import DotnetProject, package_of, render_dotnet
from builder.models.consumers.dotnet_view import View, view_of
from builder.models.contract import Contract, Feature
from builder.pipeline.packaging import write_package
from tests.support.dotnet import RUNTIME, Dotnet, DotnetError, dotnet_toolchain, obstacle
from tests.support.dotnet_programs import INSPECTOR, XUNIT, read_results, reading, scorer, write_rows
from tests.support.models import MODELS, Trained, churn, wine
from tests.support.require import need

pytestmark = [pytest.mark.slow, pytest.mark.index]

ROWS = 10_000
LIBRARY = ("-target:library", "-warnaserror+", "-warn:4")

# names that break out of comments, strings, XML, Markdown and MSBuild, or mean something in C#
HOSTILE = (
    '*/ "quotes" \\u0022 class',
    "new\nline",
    "line\u2028separator\u0085next",
    "<b>&amp;</summary>]]>",
    "$(Path);%41@(Compile)",
    "class",
    "Class",
    "ToString",
    "Hostile Input",
    "Equals",
    "1st|cell`",
    "\u202eturned",
    "Größe 🙂",
)


@pytest.fixture(scope="session")
def dotnet(shared_cache: Cache) -> Dotnet:
    """The toolchain, from npm."""
    need(".NET", not obstacle(), obstacle())
    try:
        return dotnet_toolchain(shared_cache, os.environ)
    except DotnetError as error:
        need("npm's registry", not str(error).startswith("npm pack"), str(error))
        raise


@dataclass(frozen=True)
class Built:
    """A client, written and compiled."""

    contract: Contract
    project: DotnetProject
    view: View
    folder: Path
    assembly: Path

    @property
    def tests(self) -> Path:
        return self.folder / "tests" / f"{self.project.package.id}.Tests" / "ContractTests.cs"


def build(dotnet: Dotnet, contract: Contract, model: bytes, folder: Path, name: str | None = None) -> Built:
    """The library, compiled as C# 8; every warning is an error."""
    project = render_dotnet(contract, model, package_of(contract, package=name))
    write_package(folder / "project", project.files, ("README.md", "lockship"))
    identity = project.package.id
    source = folder / "project" / "src" / identity
    assembly = dotnet.compile(
        folder / "bin" / f"{identity}.dll",
        sorted(source.glob("*.cs")),
        references=[dotnet.reference],
        resources={f"{identity}.model.onnx": source / "model.onnx"},
        options=[*LIBRARY, "-nullable:enable", f"-doc:{folder / 'bin' / 'doc.xml'}"],
    )
    return Built(contract, project, view_of(contract, identity), folder / "project", assembly)


def written(folder: Path, **files: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.cs").write_text(text)
    return [folder / f"{name}.cs" for name in files]


@pytest.mark.parametrize("name", MODELS)
def test_clients_score_as_python_does(name: str, dotnet: Dotnet, tmp_path: Path) -> None:
    trained: Trained = MODELS[name]()
    built = build(dotnet, trained.contract, trained.model, tmp_path)
    rows = trained.draw(ROWS, 11)
    write_rows(tmp_path / "rows", trained.contract, built.view, rows)
    (tmp_path / "out").mkdir()

    said = dotnet.run(scoring(dotnet, built, tmp_path), tmp_path / "rows", tmp_path / "out")

    assert f"{facts(built)} passed\n" in said
    assert said.endswith("disposed under way: 4 of 4 threads\n")
    if name == "churn":
        assert "row 0, column 'Monthly Charges': is missing, and the model was not made for that" in said
        assert (
            "column 'payment': '\u200bnever seen' is not among the values that the model knows: 'Überweisung', " in said
        )
        assert "column 'contract': holds a NUL character" in said
    expected = trained.scores(rows)
    for way in ("batch", "single", "threads"):
        got = read_results(tmp_path / "out" / way, trained.contract, ROWS)
        for output in trained.contract.outputs:
            if output.meaning == "label":
                assert (got[output.name] == expected[output.name]).all(), way
            else:
                np.testing.assert_allclose(got[output.name], expected[output.name], rtol=1e-5, atol=1e-5, err_msg=way)


def scoring(dotnet: Dotnet, built: Built, folder: Path) -> Path:
    """A program with the contract test in it, which covers bad input too, and the scorer."""
    sources = written(
        folder / "program",
        Scorer=scorer(built.contract, built.project.package.id),
        Rows=reading(built.contract, built.view),
        Xunit=XUNIT,
    )
    return dotnet.program(folder / "run", [built.tests, *sources], references=[built.assembly])


def facts(built: Built) -> int:
    return built.tests.read_text().count("[Fact]")


def test_hostile_names_break_nothing(dotnet: Dotnet, tmp_path: Path) -> None:
    trained = wine()
    tensor = trained.contract.inputs[0]
    features = tuple(
        Feature(name=name, description=f"{name}. */ </remarks>", unit=name)
        for name, _ in zip(HOSTILE, tensor.features, strict=True)
    )
    contract = trained.contract.model_copy(
        update={
            "name": "hostile",
            "description": '"; $(Foo) <!-- --> */ </description>\n&',
            "inputs": (tensor.model_copy(update={"features": features}),),
        }
    )
    built = build(dotnet, contract, trained.model, tmp_path, "Acme.System.class.Array")

    assert built.project.client == "Acme.System_.class_.Array_.HostileModel"
    write_rows(tmp_path / "rows", contract, built.view, trained.draw(100, 1))
    (tmp_path / "out").mkdir()
    said = dotnet.run(scoring(dotnet, built, tmp_path), tmp_path / "rows", tmp_path / "out")
    assert f"{facts(built)} passed\n" in said


def test_the_package_is_one_for_nuget(dotnet: Dotnet, tmp_path: Path) -> None:
    """NuGet's own reader takes it, and its nuspec is what the schema inside NuGet's assembly says."""
    trained = churn()
    project = render_dotnet(trained.contract, trained.model, package_of(trained.contract, authors="A & <B>"))
    package = tmp_path / project.nupkg
    package.write_bytes(project.files[project.nupkg])
    libraries = [*sorted(dotnet.tools.glob("NuGet.*.dll")), dotnet.tools / "Newtonsoft.Json.dll"]
    program = dotnet.program(tmp_path / "inspector", written(tmp_path, Inspector=INSPECTOR), references=libraries)

    said = dotnet.run(program, package).splitlines()

    assert "identity: Churn.1.4.0" in said
    assert "authors: A & <B>" in said
    assert "dependency: .NETStandard,Version=v2.0 Microsoft.ML.OnnxRuntime [1.20.0, )" in said
    assert "compiled: Compile cs/any/Churn/ChurnModel.cs" in said
    assert "file: build/Churn.targets" in said
    assert not [line for line in said if line.startswith("schema:")]
    nuspec = tmp_path / "wrong.nuspec"
    nuspec.write_text(zipfile.ZipFile(package).read("Churn.nuspec").decode().replace("authors>", "writers>"))
    with pytest.raises(DotnetError, match=r"schema: .*writers"):
        dotnet.run(program, package, nuspec)


@pytest.fixture(scope="module")
def feed(dotnet: Dotnet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that NuGet takes packages from: Microsoft.ML.OnnxRuntime, as compiled from its sources."""
    folder = tmp_path_factory.mktemp("feed")
    nuspec = (
        '<?xml version="1.0"?><package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"><metadata>'
        f"<id>Microsoft.ML.OnnxRuntime</id><version>{RUNTIME}</version><authors>a</authors>"
        "<description>Compiled from its sources.</description></metadata></package>"
    )
    with zipfile.ZipFile(folder / f"Microsoft.ML.OnnxRuntime.{RUNTIME}.nupkg", "w") as package:
        package.writestr("Microsoft.ML.OnnxRuntime.nuspec", nuspec)
        package.write(dotnet.reference, "lib/netcoreapp3.1/Microsoft.ML.OnnxRuntime.dll")
        package.write(dotnet.native, "runtimes/linux-x64/native/libonnxruntime.so")
    return folder


USER = """\
using System;
using Churn;

static class Program
{
    static void Main()
    {
        using var model = new ChurnModel();
        model.SelfTest();
        Console.WriteLine("passed: " + model.Predict(ChurnModel.GoldenRows()[0]).Label);
    }
}
"""

PROJECT = """\
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>netcoreapp3.1</TargetFramework>
    <UseAppHost>false</UseAppHost>
    <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
  </PropertyGroup>
  <ItemGroup>
    {reference}
  </ItemGroup>
</Project>
"""


def use(dotnet: Dotnet, folder: Path, feed: Path, reference: str, *options: str) -> str:
    """Build and run a project that refers to the client, as a .NET developer does; what it prints."""
    user = folder / "user"
    written(user, Program=USER)
    (user / "user.csproj").write_text(PROJECT.format(reference=reference))
    (folder / "NuGet.Config").write_text(
        "<configuration><packageSources><clear />"
        f'<add key="feed" value="{feed}" /><add key="own" value="{folder}" />'
        "</packageSources></configuration>"
    )
    environ = {"NUGET_PACKAGES": str(folder / "packages"), "DOTNET_CLI_HOME": str(folder)}
    # the SDK knows neither framework that the package is for: .NET Core 3.1 takes what .NET Standard 2.0 does
    dotnet.run("build", "-nodeReuse:false", "-o", folder / "out", *options, cwd=user, **environ)
    shutil.copyfile(dotnet.native, folder / "out" / "libonnxruntime.so")
    return dotnet.run(folder / "out" / "user.dll")


def test_a_project_that_refers_to_the_package(dotnet: Dotnet, feed: Path, tmp_path: Path) -> None:
    trained = churn()
    project = render_dotnet(trained.contract, trained.model, package_of(trained.contract, runtime=RUNTIME))
    (tmp_path / project.nupkg).write_bytes(project.files[project.nupkg])

    assert use(dotnet, tmp_path, feed, '<PackageReference Include="Churn" Version="1.4.0" />') == "passed: stays\n"


def test_a_project_that_refers_to_the_project(dotnet: Dotnet, feed: Path, tmp_path: Path) -> None:
    trained = churn()
    project = render_dotnet(trained.contract, trained.model, package_of(trained.contract, runtime=RUNTIME))
    write_package(tmp_path / "churn", project.files, ("README.md", "lockship"))

    said = use(
        dotnet, tmp_path, feed, '<ProjectReference Include="../churn/src/Churn/Churn.csproj" />',
        "-p:TargetFrameworks=netcoreapp3.1",
    )  # fmt: skip

    assert said == "passed: stays\n"
