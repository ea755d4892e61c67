"""A Dask cluster makes what one machine makes: the same digests, in spite of workers that die, and of Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from distributed import Security

from builder import __version__
from builder.cache import Cache
from builder.content import Digest
from builder.errors import ArtifactError, LockshipError, RefusedError, StoreError, UsageError
from builder.layers.encode import FORMAT
from builder.parallel import Stop
from builder.pipeline import Context, build, lock, plan, prepare, push
from builder.pipeline.building import build_prepared
from builder.pipeline.cluster.connecting import unlike
from builder.pipeline.cluster.errands import Target, layer_errand
from builder.pipeline.cluster.scheduler import open_cluster
from builder.pipeline.cluster.worker import Outcome, carry_out
from builder.pipeline.makers import Build
from builder.pipeline.pushing import Pushed, push_all_prepared
from builder.pipeline.stores import open_registry
from builder.progress import SILENT
from builder.project import load_project
from builder.registry.client import Registry
from builder.registry.reference import Repository
from tests.pipeline.test_bases import bases, put, server
from tests.pipeline.test_bases import project as project_on
from tests.pipeline.test_conda import Lab, lab
from tests.pipeline.test_jars import Jvm, jvm, plugins
from tests.pipeline.test_pushing import bump, store, tag_of
from tests.support.cluster import Workers, lone_scheduler, recorder, serve_cluster
from tests.support.registry import PASSWORD, USER, RegistryServer, serve_registry, write_login
from tests.support.repositories import Yard
from tests.support.world import World

__all__ = ["bases", "jvm", "lab", "plugins", "server"]

pytestmark = pytest.mark.apt

BIG = 60_000_000  # bytes that take a worker a moment, and compress to nothing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Workers]:
    with serve_cluster() as made:
        yield made


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A repository of the test's own."""
    return f"cluster/{abs(hash(tmp_path))}"


@pytest.fixture
def workers(cluster: Workers, here: World) -> Workers:
    """The cluster, on machines with the world's surroundings, and empty."""
    cluster.live_in(here.folder / "workers", here.environ)
    return cluster


@pytest.fixture
def ready(here: World, registry: RegistryServer, name: str) -> World:
    """A locked project with two wheels and code, and an empty repository for it."""
    here.wheel("alpha", requires=["beta"])
    here.wheel("beta")
    here.write("code/__init__.py", "")
    lock(here.project("alpha\n", image='files = ["code/"]', rest=store(registry, name)), here.context)
    return here


@pytest.fixture
def laborious(here: World, registry: RegistryServer, name: str) -> World:
    """A locked project with a wheel that takes a while, all else of it in the registry already."""
    here.write("code/__init__.py", "")
    lock(here.project("", image='files = ["code/"]', rest=store(registry, name)), here.context)
    push(here.load(), here.context)
    here.wheel("huge", files={"huge.bin": bytes(BIG)})
    lock(here.project("huge\n", image='files = ["code/"]', rest=store(registry, name)), here.context)
    bump(here, "1.1")
    return here


def client(world: World) -> Context:
    """The machine that gives the command, with a cache of its own, which is empty."""
    return Context(Cache(world.folder / "client"), world.environ)


def layer_of(world: World, title: str) -> Any:
    layers = (layer for image in plan(world.load(), world.context).images for layer in image.layers)
    return next(layer for layer in layers if layer.title.startswith(title))


def started(world: World, *words: str) -> subprocess.Popen[str]:
    """The command line, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "builder", *words],
        cwd=world.root,
        env={**world.environ, "LOCKSHIP_CACHE": str(world.folder / "client")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_the_registry_gets_what_one_machine_would_have_made(
    ready: World, workers: Workers, registry: RegistryServer, name: str
) -> None:
    alone = build(ready.load(), ready.context)
    machine = client(ready)
    pushed = push(ready.load(), machine, scheduler=workers.scheduler)
    assert pushed.digest == alone.plan.descriptor.digest == tag_of(registry, name, "1.0")
    layers = {layer.digest: layer for image in pushed.prepared.plan.images for layer in image.layers}
    assert {layer.digest for layer in pushed.sent} == set(layers)
    assert pushed.bytes_sent > sum(layer.size for layer in layers.values())
    assert not (machine.cache.root / "blobs").exists(), "this machine fetched and made nothing"
    locked = {digest.hex for digest, layer in layers.items() if layer.kind in ("deb", "wheel")}
    assert locked <= workers.blobs()
    for digest, layer in layers.items():
        assert Digest.of(registry.blob_file(digest).read_bytes()) == digest, layer.title

    bump(ready, "1.1")
    before = workers.blobs()
    done = ready.run("build", "--push", "--scheduler", workers.scheduler, "--json")
    assert done.code == 0, done
    assert f"{workers.scheduler}: 2 workers" in done.err
    assert [layer["title"] for layer in done.json["sent"]] == ["demo"], "what is there is not made again"
    assert workers.blobs() == before
    assert tag_of(registry, name, "1.1") == done.json["digest"]


def test_conda_packages(lab: Lab, workers: Workers, registry: RegistryServer, name: str) -> None:
    lock(lab.project("greeter"), lab.here.context)
    machine = client(lab.here)
    pushed = push(lab.here.load(), machine, repository=f"{registry.host}/{name}", scheduler=workers.scheduler)
    assert pushed.digest == plan(lab.here.load(), lab.here.context).descriptor.digest == tag_of(registry, name, "1.0")
    conda = {layer.digest.hex for layer in pushed.sent if layer.kind == "conda"}
    assert conda
    assert conda <= workers.blobs()
    assert not (machine.cache.root / "blobs").exists()


def test_the_layers_of_a_base_image(
    here: World, bases: Registry, workers: Workers, registry: RegistryServer, name: str
) -> None:
    """From one registry to another, by a worker."""
    put(bases)
    here.wheel("alpha")
    lock(project_on(here, bases, "alpha\n", rest=store(registry, name)), here.context)
    machine = client(here)
    pushed = push(here.load(), machine, scheduler=workers.scheduler)
    assert pushed.digest == plan(here.load(), here.context).descriptor.digest == tag_of(registry, name, "1.0")
    base = {digest.hex for digest in pushed.prepared.sources}
    assert base
    assert base <= workers.blobs()
    assert not (machine.cache.root / "blobs").exists()


@pytest.mark.slow
def test_jars(jvm: Jvm, workers: Workers, registry: RegistryServer, name: str) -> None:
    lock(jvm.project(), jvm.context)
    machine = client(jvm.here)
    pushed = push(jvm.here.load(), machine, repository=f"{registry.host}/{name}", scheduler=workers.scheduler)
    assert pushed.digest == plan(jvm.here.load(), jvm.context).descriptor.digest == tag_of(registry, name, "1.0")
    jars = {layer.digest.hex for layer in pushed.sent if layer.kind == "jar"}
    assert len(jars) == 3
    assert jars <= workers.blobs()
    assert not (machine.cache.root / "blobs").exists()


def test_certificates(ready: World, registry: RegistryServer, name: str, tmp_path: Path) -> None:
    """A scheduler with TLS does the same for who has a certificate, and nothing for others."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    ca, cert, key = (str(tmp_path / f"{one}.pem") for one in ("ca", "cert", "key"))
    authority.cert_pem.write_to_path(ca)
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    roles = {
        f"tls_{who}_{what}": path
        for who in ("scheduler", "worker", "client")
        for what, path in (("cert", cert), ("key", key))
    }
    security = Security(require_encryption=True, tls_ca_file=ca, **roles)
    settings = {"CA_FILE": ca, "CLIENT__CERT": cert, "CLIENT__KEY": key}
    certificates = {f"DASK_DISTRIBUTED__COMM__TLS__{one}": path for one, path in settings.items()}
    with serve_cluster(security=security) as safe:
        safe.live_in(ready.folder / "workers", ready.environ)
        stranger = ready.run("push", "--scheduler", safe.scheduler, "--json")
        assert stranger.code == 5, stranger
        assert tag_of(registry, name, "1.0") is None
        done = ready.run("push", "--scheduler", safe.scheduler, "--json", environ=certificates)
    assert safe.scheduler.startswith("tls://")
    assert done.code == 0, done
    assert tag_of(registry, name, "1.0") == done.json["digest"]


def test_a_worker_that_dies_over_a_layer_is_survived(
    laborious: World, workers: Workers, registry: RegistryServer, name: str
) -> None:
    killed: list[Path] = []

    def kill() -> None:
        cache = workers.at_work()
        os.kill(workers.pid(cache), signal.SIGKILL)
        killed.append(cache)

    killer = threading.Thread(target=kill)
    killer.start()
    pushed = push(laborious.load(), client(laborious), scheduler=workers.scheduler)
    killer.join()
    assert killed
    huge = layer_of(laborious, "huge")
    assert huge.digest in {layer.digest for layer in pushed.sent}
    assert Digest.of(registry.blob_file(huge.digest).read_bytes()) == huge.digest
    assert tag_of(registry, name, "1.1") == pushed.digest == plan(laborious.load(), laborious.context).descriptor.digest


def test_a_layer_that_kills_its_workers_is_named(
    laborious: World, workers: Workers, registry: RegistryServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.cluster.scheduler, "allowed_failures", 0)
    killer = threading.Thread(target=lambda: os.kill(workers.pid(workers.at_work()), signal.SIGKILL))
    killer.start()
    with pytest.raises(StoreError, match=r"huge 1\.0: 1 workers? died over it, .* tcp://") as caught:
        push(laborious.load(), client(laborious), scheduler=workers.scheduler)
    killer.join()
    assert "allowed-failures" in str(caught.value.hint)
    assert tag_of(registry, name, "1.1") is None


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_cancelled_run_sends_nothing_more(
    ready: World, workers: Workers, registry: RegistryServer, name: str, by: signal.Signals, code: int
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def held(_: Any) -> bool:
        asked.set()
        return not go_on.wait(60)

    ready.index.answers["alpha-1.0-py3-none-any.whl"] = held
    process = started(ready, "push", "--scheduler", workers.scheduler)
    assert asked.wait(60), "a worker fetches it"
    process.send_signal(by)
    _, err = process.communicate(timeout=60)
    go_on.set()
    assert process.returncode == code, err
    assert "Traceback" not in err
    workers.wait_idle()
    assert not _has(registry, name, layer_of(ready, "alpha").digest), "what was begun may be finished, but not sent"
    assert tag_of(registry, name, "1.0") is None


def _has(registry: RegistryServer, name: str, digest: Digest) -> bool:
    """Whether the repository has the blob; the registry may have it of other tests."""
    return (registry.folder / f"storage/docker/registry/v2/repositories/{name}/_layers/sha256/{digest.hex}").exists()


def test_an_error_of_a_worker_is_the_users(ready: World, workers: Workers, registry: RegistryServer, name: str) -> None:
    for wheel in ready.index.folder.glob("beta-*"):
        wheel.unlink()
    with pytest.raises(ArtifactError) as local:
        push(ready.load(), client(ready), repository=f"{registry.host}/{name}/local")
    with pytest.raises(ArtifactError) as far:
        push(ready.load(), client(ready), scheduler=workers.scheduler)
    assert (far.value.message, far.value.hint) == (local.value.message, local.value.hint)
    assert "beta-1.0" in far.value.message
    done = ready.run("push", "--scheduler", workers.scheduler)
    assert (done.code, done.err.splitlines()[-2]) == (3, f"error: {far.value.message}")
    assert tag_of(registry, name, "1.0") is None


def test_what_a_failed_project_asked_for_is_called_off(laborious: World, workers: Workers) -> None:
    laborious.wheel("gone")
    laborious.write("requirements.in", "huge\ngone\n")
    lock(laborious.load(), laborious.context)
    for wheel in laborious.index.folder.glob("gone-*"):
        wheel.unlink()
    plans = [prepare(laborious.load(), laborious.context)]
    with open_cluster(workers.scheduler, SILENT) as makers:
        (found,) = push_all_prepared(plans, client(laborious), makers)
        assert isinstance(found, ArtifactError) and "gone" in found.message
        (huge,) = [one for one in makers._begun if "huge" in one.key]
        assert within(60, huge.done)
        assert huge.status == "cancelled"


def test_credentials_stay_where_they_are(here: World, cluster: Workers, tmp_path: Path) -> None:
    """Logins of the index and of the registry: each machine uses its own, and none is told to the scheduler."""
    here.index.login = "reader:Sesame-open-1"
    here.wheel("alpha")
    here.write("code/__init__.py", "")
    host = here.index.simple.removeprefix("http://")
    own = {"PIP_INDEX_URL": f"http://reader:Sesame-open-1@{host}", "INDEX_WORD": "Sesame-open-1"}
    asked = f"--extra-index-url http://reader:Sesame-open-1@{host}\n--extra-index-url http://reader:${{INDEX_WORD}}@{host}\n"
    with serve_registry(tmp_path / "guarded", "basic") as registry:
        own |= {"DOCKER_CONFIG": str(registry.docker_config)}
        context = Context(here.cache, {**here.environ, **own})
        lock(here.project(f"{asked}alpha\n", image='files = ["code/"]', rest=store(registry, "private")), context)
        machine = Context(Cache(here.folder / "client"), context.environ)

        stranger = write_login(tmp_path / "stranger", registry.host, "nobody", "Wrong-password-7")
        cluster.live_in(here.folder / "strangers", {**context.environ, "DOCKER_CONFIG": str(stranger)})
        with pytest.raises(StoreError, match=r"login|password|unauthori|401|denied"):
            push(here.load(), machine, scheduler=cluster.scheduler)
        assert tag_of(registry, "private", "1.0") is None

        cluster.live_in(here.folder / "workers", context.environ)
        with recorder(cluster.scheduler) as relay:
            pushed = push(here.load(), machine, scheduler=relay.address)
        assert tag_of(registry, "private", "1.0") == pushed.digest
        said = bytes(relay.sent)
        assert b"alpha-1.0-py3-none-any.whl" in said, "it can be read"
        assert b"${INDEX_WORD}" in said
        for secret in ("Sesame-open-1", PASSWORD, USER + ":"):
            assert secret.encode() not in said
        assert (registry.docker_config / "config.json").read_bytes()[20:60] not in said


def test_signed_addresses_stay_here_too(ready: World) -> None:
    prepared = prepare(ready.load(), ready.context)
    (ready.root / "requirements.in").write_text(
        "--find-links https://store.example/wheels?page=2&X-Amz-Signature=Sesame-open-1\n"
        "--extra-index-url https://Sesame-open-1@index.example/simple?api_key=Sesame-open-1\n"
        "--extra-index-url https://index.example/simple?token=${INDEX_WORD}\n"
    )
    layer = next(layer for image in prepared.plan.images for layer in image.layers if layer.kind == "wheel")
    errand = layer_errand(prepared, layer, Target(Repository("store.example", "a")), {})
    assert sorted(errand.files["index-options.in"].decode().splitlines()) == [
        "--extra-index-url 'https://index.example/simple?token=${INDEX_WORD}'",
        "--extra-index-url https://index.example/simple",
        "--find-links 'https://store.example/wheels?page=2'",
    ]


def test_several_projects_share_what_is_made(
    here: World, workers: Workers, registry: RegistryServer, name: str
) -> None:
    here.wheel("alpha", requires=["beta"])
    here.wheel("beta")
    here.write("code/__init__.py", "")
    lock(here.project("alpha\n", image='files = ["code/"]', rest=store(registry, name)), here.context)
    plans = []
    for number in range(3):
        folder = here.folder / f"project{number}"
        shutil.copytree(here.root, folder)
        (folder / "code/__init__.py").write_text(f"number = {number}\n")
        text = (folder / "lockship.toml").read_text().replace(f"{name}", f"{name}/{number}")
        (folder / "lockship.toml").write_text(text)
        plans.append(prepare(load_project(folder / "lockship.toml"), here.context))
    taken = (here.folder / "project1/code/__init__.py").read_text()
    (here.folder / "project1/code/__init__.py").write_text("somebody = 'else'\n")
    push(load_project(here.folder / "project1/lockship.toml"), here.context)
    (here.folder / "project1/code/__init__.py").write_text(taken)

    asked = len(here.index.requests)
    with open_cluster(workers.scheduler, SILENT) as makers:
        first, second, third = push_all_prepared(plans, client(here), makers)
    assert isinstance(first, Pushed)
    assert isinstance(third, Pushed)
    assert isinstance(second, RefusedError)
    assert tag_of(registry, f"{name}/0", "1.0") == first.digest
    assert tag_of(registry, f"{name}/2", "1.0") == third.digest
    files = [one.path for one in here.index.requests[asked:] if one.path.endswith(".whl")]
    assert len(files) == len(set(files)) == 2, "each wheel was fetched by one worker, for both"
    titles = sorted(layer.title for one in (first, third) for layer in one.sent if layer.kind == "wheel")
    assert titles == ["alpha 1.0", "beta 1.0"], "sent to one repository, mounted by the other"


def test_what_one_project_fails_at_is_not_the_failure_of_the_next(
    ready: World, cluster: Workers, registry: RegistryServer, name: str, tmp_path: Path
) -> None:
    """Workers may not log in where the first wants the layers that the second needs, too."""
    with serve_registry(tmp_path / "guarded", "basic") as guarded:
        login = write_login(tmp_path / "stranger", guarded.host, "nobody", "Wrong-password-7")
        cluster.live_in(ready.folder / "strangers", {**ready.environ, "DOCKER_CONFIG": str(login)})
        machine = Context(client(ready).cache, {**ready.environ, "DOCKER_CONFIG": str(guarded.docker_config)})
        text = (ready.root / "lockship.toml").read_text()
        (ready.root / "lockship.toml").write_text(text.replace(f"{registry.host}/{name}", f"{guarded.host}/{name}"))
        plans = [prepare(ready.load(), ready.context)]
        (ready.root / "lockship.toml").write_text(text)
        plans.append(prepare(ready.load(), ready.context))
        with open_cluster(cluster.scheduler, SILENT) as makers:
            (first,) = push_all_prepared(plans[:1], machine, makers)
            (second,) = push_all_prepared(plans[1:], machine, makers)
    assert isinstance(first, StoreError)
    assert isinstance(second, Pushed), second
    assert tag_of(registry, name, "1.0") == second.digest


def test_what_fails_for_one_project_is_tried_for_the_next(
    ready: World, workers: Workers, registry: RegistryServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be its repository that refuses, and no other one."""
    plans = [prepare(ready.load(), ready.context)]
    file = ready.root / "lockship.toml"
    file.write_text(file.read_text().replace(name, f"{name}/next"))
    plans.append(prepare(ready.load(), ready.context))
    with open_cluster(workers.scheduler, SILENT) as makers:
        begin, begun = makers._begin, list[int]()

        def first_in_vain(build: Any, layers: Any) -> Any:
            begun.append(len(layers))
            if len(begun) > 1:
                return begin(build, layers)
            return {layer.digest: makers._client.submit(_refuse, pure=False) for layer in layers}

        monkeypatch.setattr(makers, "_begin", first_in_vain)
        found = push_all_prepared(plans, client(ready), makers)
    (error,) = [one for one in found if isinstance(one, Exception)]
    assert isinstance(error, StoreError) and error.message == "not here"
    (pushed,) = [one for one in found if isinstance(one, Pushed)]
    assert tag_of(registry, pushed.reference.repository.name, "1.0") == pushed.digest
    assert len(begun) == 2


def _refuse() -> Outcome:
    raise StoreError("not here")


def test_what_others_wait_for_is_not_called_off(
    laborious: World, workers: Workers, registry: RegistryServer, name: str
) -> None:
    plans = [prepare(laborious.load(), laborious.context)]
    file = laborious.root / "lockship.toml"
    file.write_text(file.read_text().replace(name, f"{name}/failing"))
    laborious.wheel("gone")
    laborious.write("requirements.in", "huge\ngone\n")
    lock(laborious.load(), laborious.context)
    for wheel in laborious.index.folder.glob("gone-*"):
        wheel.unlink()
    plans.append(prepare(laborious.load(), laborious.context))
    with open_cluster(workers.scheduler, SILENT) as makers:
        first, second = push_all_prepared(plans, client(laborious), makers)
        huge = [one.status for one in makers._begun if "huge" in one.key]
    assert isinstance(first, Pushed), first
    assert isinstance(second, ArtifactError), second
    assert huge == ["finished"]


def test_what_a_dead_worker_took_with_it_is_done_again(
    ready: World, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.pipeline.cluster.scheduler._ANSWER", 2)
    with open_cluster(workers.scheduler, SILENT) as makers:
        future = makers._client.submit(_slowly, str(ready.root / "done"), pure=False)
        assert within(60, future.done)
        (place,) = workers.client.who_has([future])[future.key]
        name = workers.client.scheduler_info()["workers"][place]["name"]
        os.kill(workers.pid(workers.folder / str(name)), signal.SIGKILL)
        assert makers._outcome(future, "x") is None
        assert makers._gather({future: "x"}, Stop(), "waiting") == {future: Outcome(Digest.of(b""), 1)}


def _slowly(file: str) -> Outcome:
    """At once at first, and in several seconds from then on."""
    if Path(file).exists():
        time.sleep(6)
    Path(file).touch()
    return Outcome(Digest.of(b""), 1)


def test_a_worker_that_was_there_a_moment_ago_may_come_back(ready: World) -> None:
    with lone_scheduler(ready.environ) as (address, _), open_cluster(address, SILENT) as makers:
        long_ago = time.monotonic() - 3600
        with pytest.raises(StoreError, match="has no worker"):
            makers._look(long_ago)
        words = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"]
        with subprocess.Popen(words, env=ready.environ, cwd=ready.root, stderr=subprocess.DEVNULL) as worker:
            try:
                assert within(60, lambda: bool(makers._ask(makers._client.scheduler.ncores)))
                makers._look(long_ago)
            finally:
                worker.kill()
        assert within(60, lambda: not makers._ask(makers._client.scheduler.ncores))
        makers._look(long_ago)


def test_a_scheduler_that_is_not_there(ready: World, registry: RegistryServer, name: str) -> None:
    environ = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "500ms"}
    done = ready.run("push", "--scheduler", "tcp://127.0.0.1:9", "--json", environ=environ)
    assert done.code == 5, done
    assert "tcp://127.0.0.1:9: no Dask scheduler answers" in done.json["error"]["message"]
    assert "is it running" in done.json["error"]["hint"]
    assert "Traceback" not in done.err
    assert tag_of(registry, name, "1.0") is None


def test_something_else_that_answers(ready: World, registry: RegistryServer) -> None:
    with (
        pytest.raises(StoreError, match="no Dask scheduler answers"),
        open_cluster(f"tcp://{registry.host}", SILENT, timeout=2),
    ):
        pass


@pytest.mark.parametrize("host", [".lab", "x" * 70, "ä" * 70], ids=["dot", "long", "umlauts"])
def test_what_is_no_name_of_a_host(host: str) -> None:
    with (
        pytest.raises(StoreError, match="no Dask scheduler answers"),
        open_cluster(f"tcp://{host}:8786", SILENT, timeout=2),
    ):
        pass


@pytest.mark.parametrize("address", ["", "scheduler:8786", "http://127.0.0.1:8786", "tcp://lab", "tcp://lab:none"])
def test_an_address_that_is_none(address: str) -> None:
    with (
        pytest.raises(UsageError, match="not the address of a Dask scheduler") as caught,
        open_cluster(address, SILENT),
    ):
        pass
    assert "tcp://scheduler.example.com:8786" in str(caught.value.hint)


def test_a_scheduler_that_dies_meanwhile(ready: World, registry: RegistryServer, name: str) -> None:
    with lone_scheduler(ready.environ) as (address, process):
        command = started(ready, "push", "--scheduler", address)
        assert command.stderr is not None
        assert command.stderr.readline() == f"{address}: 0 workers\n"
        time.sleep(1)
        process.kill()
        _, err = command.communicate(timeout=60)
    assert command.returncode == 5, err
    assert f"error: {address}: the connection to the Dask scheduler was lost" in err
    assert "Traceback" not in err
    assert tag_of(registry, name, "1.0") is None


def test_a_cluster_without_workers(ready: World) -> None:
    prepared = prepare(ready.load(), ready.context)
    with (
        lone_scheduler(ready.environ) as (address, _),
        open_cluster(address, SILENT, patience=1) as makers,
        pytest.raises(StoreError, match=f"{address} has no worker, and none came in 1 seconds") as caught,
    ):
        push_all = push_all_prepared([prepared], client(ready), makers)
        assert isinstance(push_all[0], LockshipError)
        raise push_all[0]
    assert "dask worker" in str(caught.value.hint)


def test_an_image_that_nobody_finished_in_time_is_called_off(
    ready: World, registry: RegistryServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a worker that comes later would tag what was said to have failed."""
    prepared = prepare(ready.load(), ready.context)
    with (
        lone_scheduler(ready.environ) as (address, _),
        open_cluster(address, SILENT, patience=0) as makers,
        open_registry(Repository(registry.host, name), ready.context, push=True) as target,
    ):
        build = Build(prepared, ready.context, target, (), Stop())
        monkeypatch.setattr("builder.pipeline.cluster.scheduler._LOOK", 0.1)
        with pytest.raises(StoreError, match="has no worker"):
            makers.finish(build, (), move=False)
        assert [one.status for one in makers._begun] == ["cancelled"]
        monkeypatch.setattr("builder.pipeline.cluster.scheduler._LOOK", 36_000)  # the next one doesn't wait again
        with pytest.raises(StoreError, match="has no worker"):
            makers.finish(build, (), move=False)


def test_a_layout_is_no_store_for_a_cluster(ready: World, workers: Workers) -> None:
    done = ready.run("build", "--scheduler", workers.scheduler, "--json")
    assert done.code == 2, done
    assert "a folder of this machine" in done.json["error"]["message"]
    assert "lockship build --push --scheduler" in done.json["error"]["hint"]
    assert not (ready.root / ".lockship").exists()
    prepared = prepare(ready.load(), ready.context)
    with open_cluster(workers.scheduler, SILENT) as makers, pytest.raises(UsageError, match="a folder of this machine"):
        build_prepared(prepared, client(ready), ready.store, makers=makers)


def test_a_scheduler_without_lockship(ready: World, registry: RegistryServer, name: str) -> None:
    lacking = ready.write(
        "lacking/builder.py", 'raise ModuleNotFoundError("No module named \'builder\'", name="builder")\n'
    )
    with lone_scheduler({**ready.environ, "PYTHONPATH": str(lacking.parent)}) as (address, _):
        done = ready.run("push", "--scheduler", address, "--json")
    assert done.code == 5, done
    assert f"{address}: the cluster doesn't understand the work" in done.json["error"]["message"]
    assert f"install lockship[dask] {__version__}" in done.json["error"]["hint"]
    assert tag_of(registry, name, "1.0") is None


def test_a_worker_with_another_lockship(workers: Workers) -> None:
    for version, layer_format in (("0.0.1", FORMAT), (__version__, FORMAT + 1)):
        with pytest.raises(StoreError, match=rf"the worker tcp://\S+ has lockship {__version__}") as caught:
            workers.client.submit(carry_out, version, layer_format, b"never read", pure=False).result()
        assert version in caught.value.message
        assert "same lockship on all workers" in str(caught.value.hint)


def test_versions_of_dask_that_differ() -> None:
    def has(version: str) -> dict[str, Any]:
        return {"packages": {"distributed": version}}

    same = {"client": has("2"), "scheduler": has("2"), "workers": {"tcp://a:1": has("2")}}
    assert unlike(same) is None
    assert unlike({**same, "scheduler": has("1")}) == "the scheduler has distributed 1, this machine 2"
    other = {**same, "workers": {"tcp://a:1": has("2"), "tcp://b:1": has("3")}}
    assert unlike(other) == "the worker tcp://b:1 has distributed 3, this machine 2"


def test_without_the_extra(ready: World) -> None:
    ready.write("lacking/distributed.py", "raise ImportError('not here')\n")
    path = f"{ready.root / 'lacking'}{os.pathsep}{ready.environ['PYTHONPATH']}"
    done = ready.run("push", "--scheduler", "tcp://127.0.0.1:9", "--json", environ={"PYTHONPATH": path})
    assert done.code == 5, done
    assert done.json["error"]["hint"] == "pip install 'lockship[dask]'"


def test_who_names_no_scheduler_needs_no_dask(ready: World) -> None:
    code = (
        "import sys, json; from builder.cli.app import invoke; code = invoke(['build'])\n"
        "print(json.dumps([code, sorted({'dask', 'distributed', 'tornado'} & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ready.root, env=ready.environ, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


def test_a_release_is_the_same_one(ready: World, workers: Workers, registry: RegistryServer, name: str) -> None:
    planned = ready.run("plan", "--json").json["digest"]
    at = {"LOCKSHIP_CACHE": str(ready.folder / "client")}
    words = ("release", "--allow", "no-git", "--json", "--scheduler")
    done = ready.run(*words, workers.scheduler, environ=at)
    assert done.code == 0, done
    assert done.json["release"]["index"] == planned == tag_of(registry, name, "1.0")
    assert done.json["bytes_sent"] > sum(layer.size for layer in (layer_of(ready, "alpha"), layer_of(ready, "libc6")))
    assert not (ready.folder / "client" / "blobs").exists(), "this machine fetched and made nothing"
    assert not (ready.root / ".lockship" / "store").exists()
    again = ready.run(*words, workers.scheduler, environ=at)
    assert again.code == 0 and again.json["there"], again
    refused = ready.run(*words, workers.scheduler, "--repository", f"oci:{ready.store.root}", environ=at)
    assert refused.code == 2, refused


def test_a_layout_gets_no_release_from_a_cluster(ready: World, workers: Workers) -> None:
    file = ready.root / "lockship.toml"
    file.write_text(file.read_text().replace("repository =", "# repository ="))
    done = ready.run("release", "--allow", "no-git", "--json", "--scheduler", workers.scheduler)
    assert done.code == 2, done
    assert "a folder of this machine" in done.json["error"]["message"]
    assert not (ready.root / ".lockship").exists()


def test_many_are_released_by_it(
    yard: Yard, cluster: Workers, registry: RegistryServer, name: str, tmp_path: Path
) -> None:
    """One that is refused takes with it who depends on it, and nobody else."""
    cluster.live_in(tmp_path / "workers", yard.environ)
    for one in ("features", "fraud", "report", "churn"):
        yard.append(f"{one}/lockship.toml", f'\n[store]\nrepository = "{registry.host}/{name}/{one}"\n')
    yard.commit()
    main = yard.root / "features" / "code" / "main.py"
    committed = main.read_bytes()
    yard.append("features/code/main.py", "# not committed\n")
    yard.cache = tmp_path / "client"
    words = ("release", "--all", "--allow", "unpushed", "--scheduler", cluster.scheduler, "--json")
    done = yard.run(*words)
    assert done.code == 7, done
    results = {one["name"]: one["result"] for one in done.json["projects"]}
    assert results == {"features": "failed", "fraud": "done", "report": "done", "churn": "skipped"}
    assert tag_of(registry, f"{name}/features", "1.0") is None, "nothing is pushed of what is not released"
    main.write_bytes(committed)
    again = yard.run(*words)
    assert again.code == 0, again
    found = {one["name"]: one for one in again.json["projects"]}
    assert {one: found[one]["what"] for one in found} == {
        "features": "released", "fraud": "was there", "report": "was there", "churn": "released",
    }  # fmt: skip
    for one in found:
        assert tag_of(registry, f"{name}/{one}", "1.0") == found[one]["digest"]
        assert yard.run("plan", "-C", one, "--json").json["digest"] == found[one]["digest"]


def test_many_projects_go_to_it_in_waves(
    yard: Yard, cluster: Workers, registry: RegistryServer, name: str, tmp_path: Path
) -> None:
    """What depends on one that fails is not begun; all share what is made, and have their own machine's digests."""
    cluster.live_in(tmp_path / "workers", yard.environ)
    members = ("features", "fraud", "report", "churn")
    for one in members:
        yard.append(f"{one}/lockship.toml", f'\n[store]\nrepository = "{registry.host}/{name}/{one}"\n')
    yard.commit()
    yard.cache = tmp_path / "client"  # this machine has nothing that it could send
    asked = len(yard.world.index.requests)
    done = yard.run("push", "--all", "--scheduler", cluster.scheduler, "--json")
    assert done.code == 0, done
    found = {one["name"]: one for one in done.json["projects"]}
    assert {one["what"] for one in found.values()} == {"pushed"}
    for one in members:
        assert tag_of(registry, f"{name}/{one}", "1.0") == found[one]["digest"]
        assert yard.run("plan", "-C", one, "--json").json["digest"] == found[one]["digest"]
    wheels = [one.path for one in yard.world.index.requests[asked:] if one.path.endswith(".whl")]
    assert len(wheels) == len(set(wheels)) == 3, "each was fetched by one worker, for all"

    for one in ("features", "report"):
        yard.append(f"{one}/code/main.py", "# more\n")
    file = yard.root / "churn" / "lockship.toml"
    file.write_text(file.read_text().replace('version = "1.0"', 'version = "1.1"'))
    again = yard.run("push", "--all", "--scheduler", cluster.scheduler, "--json")
    assert again.code == 7, again
    results = {one["name"]: one["result"] for one in again.json["projects"]}
    assert results == {"features": "failed", "fraud": "done", "report": "failed", "churn": "skipped"}
    assert tag_of(registry, f"{name}/churn", "1.1") is None
