"""The stores that keep the contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.registry.client import Registry
from builder.registry.credentials import find_credential
from builder.registry.endpoint import network_of
from builder.registry.layout import Layout
from builder.registry.reference import parse_repository
from builder.registry.store import Store
from tests.support.registry import RegistryServer, serve_registry

KINDS = ("open", "basic", "token", "tls")
_numbers = itertools.count()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RegistryServer]]:
    """A registry of each of `KINDS`, started when first asked for; each test has repositories of its own there."""
    running: dict[str, RegistryServer] = {}
    with ExitStack() as stack:

        def find(kind: str) -> RegistryServer:
            if kind not in running:
                auth = kind if kind in ("basic", "token") else None
                folder = tmp_path_factory.mktemp(f"registry-{kind}")
                running[kind] = stack.enter_context(serve_registry(folder, auth, tls=kind == "tls"))  # type: ignore[arg-type]
            return running[kind]

        yield find


@pytest.fixture(params=["layout", *KINDS])
def new_store(
    request: pytest.FixtureRequest, tmp_path: Path, servers: Callable[[str], RegistryServer]
) -> Iterator[Callable[[], Store]]:
    """Opens the same, at first empty, store each time it is called."""
    if request.param == "layout":
        yield lambda: Layout(tmp_path / "store")
        return
    server = servers(request.param)
    name = new_name()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(open_registry(server, name))


def new_name() -> str:
    """The name of a repository that no other test has."""
    return f"ml/churn-{next(_numbers)}"


def open_registry(
    server: RegistryServer,
    name: str,
    *,
    host: str | None = None,
    retries: int = 5,
    timeout: float = 30,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> Registry:
    """A repository of `server`, as somebody who is logged in has it; open to be pushed to.

    `host` stands before it, as a proxy does; `environ` is instead of the one that the server asks for.
    """
    environ = server.environ() if environ is None else environ
    repository = parse_repository(f"{host or server.host}/{name}")
    login = parse_repository(f"{server.host}/{name}")
    options = {"push": True, "jitter": lambda: -0.5, **options}  # no pauses
    network = replace(network_of(environ), retries=retries, timeout=timeout)
    return Registry(repository, network, lambda: find_credential(login, environ), **options)


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    """An empty store."""
    return new_store()
