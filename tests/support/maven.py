"""A small Maven repository over HTTP, and a Maven whose plugins are at hand."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from builder.cache import Cache
from builder.lock.maven import arguments, pom, repository_path
from builder.lock.maven_settings import Settings, repositories_of
from builder.lock.tools import run_tool
from tests.support.serving import listening

__all__ = ["Shelf", "keep_plugins", "plugins_into", "serve_shelf"]


@dataclass
class Shelf:
    """The repository in `folder`, at `url`; `requests` are the paths that were asked for."""

    folder: Path
    url: str = ""
    requests: list[str] = field(default_factory=list)

    def jar(
        self,
        name: str,
        version: str = "1.0",
        files: Mapping[str, str] | None = None,
        *,
        needs: Sequence[str] = (),
        elsewhere: str = "",
        scope: str = "",
    ) -> Path:
        """Put ``group:artifact[:classifier]`` in, with the artifacts that it needs (``group:artifact:version``).

        `scope` is what it needs them for; `elsewhere` is a further repository that its description names.
        """
        path = self.folder / repository_path(name, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, text in {"META-INF/MANIFEST.MF": f"Name: {name}\n", **(files or {})}.items():
                archive.writestr(zipfile.ZipInfo(member), text)
        group, artifact, *_ = name.split(":")
        text = pom(needs, repositories_of([elsewhere])[:1] if elsewhere else ())
        own = f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        text = text.replace("<groupId>dev.lockship</groupId><artifactId>lock</artifactId><version>1</version>", own)
        text = text.replace("<packaging>pom</packaging>", "")
        if scope:
            text = text.replace("</dependency>", f"<scope>{scope}</scope></dependency>")
        described = path.with_name(f"{artifact}-{version}.pom")
        described.write_text(text)
        for one in (path, described):
            one.with_name(one.name + ".sha1").write_text(hashlib.sha1(one.read_bytes()).hexdigest())
        return path


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, shelf: Shelf, *words: object) -> None:
        self.shelf = shelf
        super().__init__(*words, directory=str(shelf.folder.parent))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.shelf.requests.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_shelf(folder: Path) -> Iterator[Shelf]:
    """A repository on a free port of this machine."""
    shelf = Shelf(folder / "maven")
    shelf.folder.mkdir(parents=True)
    with listening(partial(_Handler, shelf)) as address:
        shelf.url = f"{address}/maven"
        yield shelf


def keep_plugins(shared: Cache, environ: Mapping[str, str]) -> str:
    """Get Maven's own plugins, for `plugins_into`; what went wrong, or nothing."""
    kept = shared.root / "maven-plugins"
    if not (kept / "complete").is_file():
        folder = shared.root / "maven-first"
        folder.mkdir(parents=True, exist_ok=True)
        central = repositories_of(())
        (folder / "pom.xml").write_text(pom((), central))
        (folder / "settings.xml").write_bytes(Settings({}).render(central))
        words = arguments(folder / "settings.xml", kept, folder / "tree")
        outcome = run_tool(["mvn", *words], environ=environ, folder=folder, timeout=600)
        if outcome.code != 0:
            return outcome.text[-800:]
        (kept / "complete").touch()
    return ""


def plugins_into(cache: Cache, shared: Cache) -> None:
    """Let `cache` start with the plugins that `shared` keeps."""
    shutil.copytree(shared.root / "maven-plugins", cache.root / "maven", copy_function=os.link)
