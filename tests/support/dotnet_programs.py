"""Programs in C# for the tests and benchmarks of .NET clients, and the rows that they read and write."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from builder.models.consumers.dotnet_view import Property, View, view_of
from builder.models.contract import Contract, TensorType
from tests.support.models import Tensors

__all__ = ["INSPECTOR", "XUNIT", "read_results", "reading", "scorer", "write_rows"]

_FORMATS: Final[Mapping[TensorType, str]] = {"float32": "<f", "float64": "<d", "int64": "<q", "bool": "<?"}
_READERS: Final[Mapping[TensorType, str]] = {
    "float32": "ReadSingle",
    "float64": "ReadDouble",
    "int64": "ReadInt64",
    "bool": "ReadBoolean",
    "string": "ReadString",
}

# What the contract test uses of xunit, which is on no registry within reach, and something that runs it.
XUNIT: Final = """\
using System;
using System.Collections;
using System.Reflection;

namespace Xunit
{
    [AttributeUsage(AttributeTargets.Method)]
    public sealed class FactAttribute : Attribute
    {
    }

    public static class Assert
    {
        public static void Empty(IEnumerable all)
        {
            if (all.GetEnumerator().MoveNext()) throw new Exception("not empty");
        }

        public static void Contains(string part, string whole)
        {
            if (!whole.Contains(part)) throw new Exception("not in '" + whole + "': " + part);
        }

        public static T Throws<T>(Func<object> code) where T : Exception
        {
            try
            {
                code();
            }
            catch (Exception error) when (error.GetType() == typeof(T))
            {
                Console.WriteLine("  " + error.Message);
                return (T)error;
            }
            throw new Exception("nothing thrown: " + typeof(T));
        }
    }

    public static class Runner
    {
        public static void Run()
        {
            int run = 0;
            foreach (Type type in Assembly.GetExecutingAssembly().GetTypes())
            {
                foreach (MethodInfo method in type.GetMethods())
                {
                    if (method.GetCustomAttribute<FactAttribute>() is null) continue;
                    Console.WriteLine(method.Name);
                    object instance = Activator.CreateInstance(type);
                    method.Invoke(instance, null);
                    ((IDisposable)instance).Dispose();
                    run++;
                }
            }
            Console.WriteLine(run + " passed");
        }
    }
}
"""

# A package as NuGet itself reads it, and its nuspec against the schema inside NuGet's own assembly.
INSPECTOR: Final = """\
using System;
using System.IO;
using System.Linq;
using System.Xml;
using System.Xml.Linq;
using System.Xml.Schema;
using NuGet.Packaging;

static class Program
{
    static int Main(string[] arguments)
    {
        using var package = new PackageArchiveReader(arguments[0]);
        var assembly = typeof(PackageArchiveReader).Assembly;
        string name = assembly.GetManifestResourceNames().Single(one => one.EndsWith("nuspec.xsd"));
        XDocument nuspec = XDocument.Load(arguments.Length > 1 ? File.OpenRead(arguments[1]) : package.GetNuspec());
        string schema = new StreamReader(assembly.GetManifestResourceStream(name)).ReadToEnd();
        var schemas = new XmlSchemaSet();
        string space = nuspec.Root.Name.NamespaceName;
        schemas.Add(space, XmlReader.Create(new StringReader(schema.Replace("{0}", space))));
        int wrong = 0;
        nuspec.Validate(schemas, (sender, problem) =>
        {
            wrong++;
            Console.WriteLine("schema: " + problem.Message);
        });
        NuspecReader reader = package.NuspecReader;
        Console.WriteLine("identity: " + reader.GetIdentity());
        Console.WriteLine("authors: " + reader.GetAuthors());
        Console.WriteLine("description: " + reader.GetDescription());
        foreach (var group in reader.GetDependencyGroups())
        {
            foreach (var one in group.Packages)
            {
                Console.WriteLine("dependency: " + group.TargetFramework + " " + one.Id + " " + one.VersionRange);
            }
        }
        foreach (var one in reader.GetContentFiles())
        {
            Console.WriteLine("compiled: " + one.BuildAction + " " + one.Include);
        }
        foreach (var file in package.GetFiles()) Console.WriteLine("file: " + file);
        return wrong;
    }
}
"""

_SCORER: Final = """\
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using {namespace};

static class Program
{{
    static void Main(string[] arguments)
    {{
        using var model = new {model}();
        Xunit.Runner.Run();
        {input}[] rows = Rows.Read(arguments[0]);
        Write(arguments[1] + "/batch", model.Predict(rows));
        Write(arguments[1] + "/single", rows.Select(model.Predict).ToArray());
        var threaded = new {result}[rows.Length];
        Parallel.For(0, 8, new ParallelOptions {{ MaxDegreeOfParallelism = 8 }}, part =>
        {{
            // single rows in one thread, batches in the next
            if (part % 2 == 0)
            {{
                for (int at = part; at < rows.Length; at += 8) threaded[at] = model.Predict(rows[at]);
                return;
            }}
            int[] mine = Enumerable.Range(0, rows.Length).Where(at => at % 8 == part).ToArray();
            var some = model.Predict(mine.Select(at => rows[at]));
            for (int at = 0; at < mine.Length; at++) threaded[mine[at]] = some[at];
        }});
        Write(arguments[1] + "/threads", threaded);
        Console.WriteLine("disposed under way: " + Disposed(rows[0]));
    }}

    static string Disposed({input} row)
    {{
        int scored = 0, refused = 0;
        var model = new {model}();
        var threads = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
        {{
            try
            {{
                while (true)
                {{
                    model.Predict(row);
                    Interlocked.Increment(ref scored);
                }}
            }}
            catch (ObjectDisposedException)
            {{
                Interlocked.Increment(ref refused);
            }}
        }})).ToArray();
        foreach (Thread one in threads) one.Start();
        while (Volatile.Read(ref scored) < 100) Thread.Yield();
        model.Dispose();
        foreach (Thread one in threads) one.Join();
        return refused + " of 4 threads";
    }}

    static void Write(string path, IReadOnlyList<{result}> results)
    {{
        using var writer = new BinaryWriter(File.Create(path));
        foreach ({result} one in results)
        {{
{writes}
        }}
    }}
}}
"""


def reading(contract: Contract, view: View) -> str:
    """A class ``Rows`` whose ``Read`` takes what `write_rows` wrote."""
    lines = []
    for one in view.properties:
        read = f"reader.{_READERS[one.kind]}()"
        lines.append(f"                if (reader.ReadBoolean()) row.{one.name} = {read};")
    body = "\n".join(lines)
    names = view.classes
    return f"""\
using System.IO;
using {view.namespace};

static class Rows
{{
    public static {names.input}[] Read(string path)
    {{
        using (var reader = new BinaryReader(File.OpenRead(path)))
        {{
            var rows = new {names.input}[reader.ReadInt32()];
            for (int at = 0; at < rows.Length; at++)
            {{
                var row = new {names.input}();
{body}
                rows[at] = row;
            }}
            return rows;
        }}
    }}
}}
"""


def scorer(contract: Contract, package: str) -> str:
    """A program that runs the contract test, then scores rows of a file at once, one by one and in threads.

    Its arguments are that file, and the folder where it leaves ``batch``, ``single`` and ``threads``.
    """
    view = view_of(contract, package)
    writes = []
    for member in view.members:
        if member.width is None:
            writes.append(f"            writer.Write(one.{member.name});")
        else:
            writes.append(f"            foreach (var cell in one.{member.name}) writer.Write(cell);")
    names = view.classes
    return _SCORER.format(
        namespace=view.namespace,
        model=names.model,
        input=names.input,
        result=names.result,
        writes="\n".join(writes),
    )


def write_rows(path: Path, contract: Contract, view: View, rows: Tensors) -> None:
    """Rows for `reading`: a value that is missing is told apart from all that are there."""
    count = len(rows[contract.inputs[0].name])
    cells = [(one, rows[contract.inputs[one.tensor].name][:, one.column].tolist()) for one in view.properties]
    parts = [struct.pack("<i", count)]
    for at in range(count):
        parts += [_packed(one, column[at]) for one, column in cells]
    path.write_bytes(b"".join(parts))


def _packed(one: Property, cell: float | int | bool | str) -> bytes:
    if isinstance(cell, str):
        if one.optional and not cell:
            return b"\0"
        data = cell.encode()
        return b"\1" + _length(len(data)) + data
    if one.optional and cell != cell:
        return b"\0"
    return b"\1" + struct.pack(_FORMATS[one.kind], cell)


def _length(number: int) -> bytes:
    """Seven bits a byte, the lowest first (BinaryReader.Read7BitEncodedInt)."""
    found = []
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def read_results(path: Path, contract: Contract, count: int) -> Tensors:
    """What `scorer` wrote."""
    data = path.read_bytes()
    found: dict[str, list[list[object]]] = {one.name: [] for one in contract.outputs}
    offset = 0
    for _ in range(count):
        for output in contract.outputs:
            row: list[object] = []
            for _ in range(output.width or 1):
                cell, offset = _unpacked(data, offset, output.type)
                row.append(cell)
            found[output.name].append(row)
    assert offset == len(data)
    return {
        one.name: np.array(found[one.name]).reshape((count,) if one.width is None else (count, one.width))
        for one in contract.outputs
    }


def _unpacked(data: bytes, offset: int, kind: TensorType) -> tuple[object, int]:
    if kind == "string":
        length, offset = _read_length(data, offset)
        return data[offset : offset + length].decode(), offset + length
    (cell,) = struct.unpack_from(_FORMATS[kind], data, offset)
    return cell, offset + struct.calcsize(_FORMATS[kind])


def _read_length(data: bytes, offset: int) -> tuple[int, int]:
    length = shift = 0
    while True:
        length |= (data[offset] & 0x7F) << shift
        shift += 7
        offset += 1
        if data[offset - 1] < 0x80:
            return length, offset
