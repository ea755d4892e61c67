"""Releases that run: a Python with a small server whose faults are chosen by environment variables."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from typing import Final

from builder.content import Digest
from builder.layers import tar
from builder.layers.recipe import Layer
from builder.project import Project
from builder.registry.store import Store
from tests.support.images import plan_of, put_plan
from tests.support.layers import host_python, put_layer

__all__ = ["PORT", "SERVER", "put_python", "put_release"]

PORT: Final = 8080

# Faults come at the n-th request, not after some seconds: slow machines see the same.
SERVER: Final = """\
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: (print("good bye", flush=True), os._exit(0)))
def number(name):
    return int(os.environ.get(name, "0"))
print("release", os.environ.get("RELEASE"), "starts", flush=True)
if "SAYS" in os.environ:
    print(os.environ[os.environ["SAYS"]], flush=True)
if number("DIES_AT_ONCE"):
    sys.exit("the model can't be opened")
server = socket.create_server((os.environ.get("LISTENS", "0.0.0.0"), 8080))
count = 0
while True:
    connection, _ = server.accept()
    asked = connection.recv(4096)
    if not asked.startswith(b"GET"):
        continue
    count += 1
    if count == number("DIES_AT"):
        sys.exit("the disk is gone")
    sick = number("SICK") or 0 < number("SICK_FROM") <= count or count < number("READY_AT")
    body = os.environ.get("RELEASE", "").encode()
    status = b"503 Service Unavailable" if sick else b"200 OK"
    connection.sendall(b"HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s" % (status, len(body), body))
    connection.close()
"""  # noqa: E501


def put_python(store: Store) -> Layer:
    """A layer with Python and the server."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    entries = [
        *host_python(),
        tar.symlink("usr/bin/python3", version),
        tar.file("app/serve.py", SERVER.encode()),
    ]
    return put_layer(store, "system", entries, ("python", "3"))


def put_release(store: Store, layer: Layer, version: str, *, more: Sequence[Layer] = (), **faults: object) -> Digest:
    """A release of the server with `more` layers, stored under a tag of its own; the index's digest."""
    env = {"RELEASE": version, **{name: str(value) for name, value in faults.items()}}
    image = {"command": ["python3", "/app/serve.py"], "env": env, "labels": {"once": uuid.uuid4().hex}}
    project = Project.model_validate({"name": "service", "version": version, "image": image})
    plan = plan_of(project, [layer, *more])
    put_plan(store, plan, uuid.uuid4().hex)
    return plan.descriptor.digest
