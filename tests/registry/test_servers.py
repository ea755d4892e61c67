"""The registries that tests use, seen by a client that isn't ours."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from builder.content import MEDIA_MANIFEST
from builder.registry.layout import Layout
from builder.registry.store import Manifest
from tests.support.images import small_image
from tests.support.proxy import (
    always,
    answer,
    at,
    changed,
    content_type,
    cut,
    fault_proxy,
    location,
    matching,
    no_mounts,
    redirect_blobs,
    relative,
)
from tests.support.registry import PASSWORD, USER, Auth, RegistryServer, serve_registry
from tests.support.require import need
from tests.support.storage import serve_storage

pytestmark = pytest.mark.slow

# Distribution 2.8 answers 404 for an OCI manifest to clients that don't say that they know such
ACCEPT = {"Accept": MEDIA_MANIFEST}


def skopeo(server: RegistryServer, *words: str) -> subprocess.CompletedProcess[bytes]:
    need("skopeo", shutil.which("skopeo"), "apt-get install skopeo")
    cacert = server.environ().get("SSL_CERT_FILE")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(server.folder), **({"SSL_CERT_FILE": cacert} if cacert else {})}
    command = ["skopeo", *words[:1], "--authfile", str(server.authfile), *words[1:]]
    return subprocess.run(command, env=environ, capture_output=True, check=False)


@pytest.mark.parametrize("auth", [None, "basic", "token"])
@pytest.mark.parametrize("tls", [False, True])
def test_skopeo_pushes_to_every_kind(tmp_path: Path, auth: Auth | None, tls: bool) -> None:
    layout = Layout(tmp_path / "layout")
    image = small_image(layout)
    layout.put_manifest(image.descriptor, image.data, tag="1")
    source = f"oci:{tmp_path / 'layout'}:1"
    with serve_registry(tmp_path / "registry", auth, tls=tls) as server:
        target = f"docker://{server.host}/ml/churn:1"
        flag = f"--dest-tls-verify={str(tls).lower()}"
        done = skopeo(server, "copy", "--preserve-digests", flag, source, target)
        assert done.returncode == 0, done.stderr.decode()
        assert server.blob_file(image.descriptor.digest).read_bytes() == image.data
        done = skopeo(server, "inspect", f"--tls-verify={str(tls).lower()}", target)
        assert json.loads(done.stdout)["Digest"] == image.descriptor.digest
        if auth is not None:
            server.authfile.write_text("{}")
            done = skopeo(server, "copy", "--preserve-digests", flag, source, target)
            assert done.returncode == 1
            assert re.search(rb"authentication required|unauthorized|denied", done.stderr)
    assert "listening on" in server.said()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/v2/", trust_env=False)


def test_tokens_run_out_when_they_say(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server:
        tokens = server.tokens
        assert tokens is not None
        asked = {"service": tokens.service, "scope": "repository:a:pull"}
        tokens.lifetime = 30
        answer = httpx.get(tokens.realm, params=asked, auth=(USER, PASSWORD), trust_env=False).json()
        headers = {"Authorization": f"Bearer {answer['token']}"}
        assert answer["expires_in"] == 30
        assert httpx.get(f"{server.url}/v2/a/tags/list", headers=headers, trust_env=False).status_code == 404
        tokens.lifetime = -1
        answer = httpx.get(tokens.realm, params=asked, auth=(USER, PASSWORD), trust_env=False).json()
        headers = {"Authorization": f"Bearer {answer['token']}"}
        refused = httpx.get(f"{server.url}/v2/a/tags/list", headers=headers, trust_env=False)
        assert refused.status_code == 401
        assert tokens.realm in refused.headers["www-authenticate"]
        assert [(one.user, one.scopes) for one in tokens.asked] == [(USER, ("repository:a:pull",))] * 2


def test_who_gets_which_token(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server:
        tokens = server.tokens
        assert tokens is not None
        asked = {"service": tokens.service, "scope": "repository:a:pull,push"}
        assert httpx.get(tokens.realm, params=asked, auth=(USER, "wrong"), trust_env=False).status_code == 401
        httpx.get(tokens.realm, params=asked, trust_env=False)
        tokens.anonymous_pull = True
        httpx.get(tokens.realm, params=asked, trust_env=False)
        assert [one.granted["a"] for one in tokens.asked[1:]] == [frozenset(), {"pull"}]
        tokens.identities["refresh"] = USER
        form = asked | {"grant_type": "refresh_token", "refresh_token": "refresh", "client_id": "tests"}
        tokens.fields = ("access_token",)
        answer = httpx.post(tokens.realm, data=form, trust_env=False)
        assert set(answer.json()) == {"access_token", "expires_in"}
        assert tokens.asked[-1].user == USER
        tokens.statuses.append(503)
        assert httpx.post(tokens.realm, data=form, trust_env=False).status_code == 503


def put_by_skopeo(server: RegistryServer, folder: Path, name: str) -> Manifest:
    """The small image, tagged 1 in the registry at `server.host`."""
    layout = Layout(folder)
    image = small_image(layout, name)
    layout.put_manifest(image.descriptor, image.data, tag="1")
    target = f"docker://{server.host}/{name}:1"
    done = skopeo(server, "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{folder}:1", target)
    assert done.returncode == 0, done.stderr.decode()
    return image


def test_the_proxy_passes_on_and_writes_down(tmp_path: Path, registry: RegistryServer) -> None:
    with fault_proxy(registry.host, relative()) as proxy:
        image = put_by_skopeo(replace(registry, host=proxy.host), tmp_path, "servers/passed")
        assert [one.status for one in proxy.asked("PUT", "/manifests/")] == [201]
        assert proxy.asked("PUT", "/manifests/")[0].received == len(image.data)
        assert all(one.answered["location"].startswith("/v2/") for one in proxy.asked("POST PATCH PUT"))
        assert {one.headers["host"] for one in proxy.log} == {proxy.host}
        with httpx.Client(
            base_url=f"http://{proxy.host}/v2/servers/passed/", headers=ACCEPT, trust_env=False
        ) as client:
            proxy.clear()
            assert client.get("manifests/1").content == image.data
            assert client.head("manifests/1").headers["content-length"] == str(len(image.data))
            assert client.get("tags/list").json()["tags"] == ["1"]
        assert len({one.call.connection for one in proxy.log}) == 1
        assert [one.call.number for one in proxy.log] == [0, 1, 2]


def test_what_the_proxy_breaks(tmp_path: Path, registry: RegistryServer) -> None:
    image = put_by_skopeo(registry, tmp_path, "servers/broken")
    with fault_proxy(registry.host) as proxy, httpx.Client(headers=ACCEPT, trust_env=False) as client:
        url = f"http://{proxy.host}/v2/servers/broken/"
        for when in ("before", "up", "sent", "down"):
            proxy.faults = always(cut(when))
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(url + "manifests/1")
        assert [one.status for one in proxy.log] == [0, 0, 0, 200]
        assert proxy.log[-1].sent == len(image.data) // 2
        data = b"x" * 100_000
        proxy.faults = matching("PUT", "uploads", cut("up"))
        place = client.post(url + "blobs/uploads/").headers["location"]
        with pytest.raises(httpx.TransportError):
            client.put(place, params={"digest": "sha256:" + "0" * 64}, content=data)
        assert proxy.log[-1].received == 50_000
        proxy.faults = at(len(proxy.log), answer(429, {"Retry-After": "1"}, b"{}"))
        assert client.put(place, content=iter([b"in ", b"chunks"])).headers["retry-after"] == "1"
        proxy.faults = always(changed(lambda data: data[:10]))
        assert client.get(url + "manifests/1").content == image.data[:10]
        proxy.faults = always(content_type(None))
        assert "content-type" not in client.get(url + "manifests/1").headers
        proxy.faults = always(location(lambda value: None))
        assert "location" not in client.post(url + "blobs/uploads/").headers
        digest = json.loads(image.data)["config"]["digest"]
        proxy.faults = no_mounts()
        mount = f"{url}blobs/uploads/?mount={digest}&from=servers/broken".replace("broken/", "other/")
        assert client.post(mount).status_code == 202
        proxy.faults = no_mounts(405)
        assert client.post(mount).status_code == 405
        proxy.faults = None
        assert client.post(mount).status_code == 201


def test_blobs_that_live_elsewhere(tmp_path: Path, registry: RegistryServer) -> None:
    image = put_by_skopeo(registry, tmp_path, "servers/elsewhere")
    layer = json.loads(image.data)["layers"][0]["digest"]
    with serve_storage(registry.blob_file) as storage, fault_proxy(registry.host) as proxy:
        proxy.faults = redirect_blobs(storage.address)
        url = f"http://{proxy.host}/v2/servers/elsewhere/blobs/{layer}"
        redirected = httpx.get(url, trust_env=False)
        assert redirected.status_code == 307
        found = httpx.get(redirected.headers["location"], trust_env=False)
        assert found.content == b"layer servers/elsewhere"
        part = httpx.get(redirected.headers["location"], headers={"Range": "bytes=6-"}, trust_env=False)
        assert (part.status_code, part.content) == (206, b"servers/elsewhere")
        both = httpx.get(redirected.headers["location"], headers={"Authorization": "Bearer x"}, trust_env=False)
        assert both.status_code == 400
        assert httpx.get(f"{storage.url}/{layer}", trust_env=False).status_code == 403
        assert len(storage.log) == 4


def test_the_referrers_api(tmp_path: Path, registry: RegistryServer) -> None:
    layout = Layout(tmp_path)
    subject = put_by_skopeo(registry, tmp_path, "servers/referred")
    note = small_image(layout, "servers/referred", subject.descriptor)
    with fault_proxy(registry.host, referrers=True, page=1) as proxy, httpx.Client(trust_env=False) as client:
        url = f"http://{proxy.host}/v2/servers/referred"
        headers = {"Content-Type": note.descriptor.media_type}
        done = client.put(f"{url}/manifests/{note.descriptor.digest}", content=note.data, headers=headers)
        assert done.status_code == 201
        assert done.headers["oci-subject"] == subject.descriptor.digest
        listed = client.get(f"{url}/referrers/{subject.descriptor.digest}").json()["manifests"]
        assert [one["digest"] for one in listed] == [note.descriptor.digest]
        assert (
            client.get(f"http://{registry.host}/v2/servers/referred/referrers/{note.descriptor.digest}").status_code
            == 404
        )
        client.delete(f"{url}/manifests/{note.descriptor.digest}")
        assert client.get(f"{url}/referrers/{subject.descriptor.digest}").json()["manifests"] == []
