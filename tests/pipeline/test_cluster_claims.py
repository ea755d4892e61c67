"""Layers that several projects want at once: one brings each, whatever becomes of who began."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from builder.content import Digest
from builder.layers.recipe import Layer
from builder.parallel import Stop, StoppedError
from builder.pipeline.cluster.claims import Brought, Claimant, Claims
from builder.registry.reference import Repository

ONE, TWO, THREE = (Repository("registry.example", name) for name in ("one", "two", "three"))


def layer(number: int) -> Layer:
    digest = Digest.of(str(number).encode())
    return Layer("wheel", digest, 1, digest)


A, B, C = (layer(number) for number in range(3))


def test_who_comes_first_brings_it() -> None:
    claims = Claims()
    with claims.made_for(ONE) as first, claims.made_for(TWO) as second:
        assert first.claim([A, B]) == ([A, B], [])
        assert second.claim([B, C, A]) == ([C], [B, A])
        first.brought(B.digest, "tcp://worker:1")
        assert second.settled([A.digest, B.digest], Stop()) == ({B.digest: Brought(ONE, "tcp://worker:1")}, [])
    with claims.made_for(THREE) as third:
        assert third.claim([A, B, C]) == ([A, C], [B]), "what was not brought is free again"


def test_waiting_ends_when_somebody_stops_it() -> None:
    claims, stop = Claims(), Stop()
    with claims.made_for(ONE) as first, claims.made_for(TWO) as second, ThreadPoolExecutor(1) as pool:
        first.claim([A])
        second.claim([A])
        waiting = pool.submit(second.settled, [A.digest], stop)
        stop.set()
        with pytest.raises(StoppedError):
            waiting.result(timeout=60)


def test_those_who_wait_for_one_that_fails_share_what_it_left() -> None:
    """Nobody waits forever, and nothing is brought twice."""
    claims = Claims()
    layers = [layer(number) for number in range(40)]
    brought: list[Digest] = []

    def bring(claimant: Claimant, number: int) -> int:
        own, others = claimant.claim(layers[number:] + layers[:number])
        mine, waiting = {one.digest for one in own}, {one.digest for one in others}
        while True:
            for digest in mine:
                brought.append(digest)
                claimant.brought(digest, "")
            if not waiting:
                return number
            found, free = claimant.settled(waiting, Stop())
            waiting -= {*found, *free}
            mine = set(free)

    def project(number: int) -> int:
        with claims.made_for(Repository("registry.example", f"project-{number}")) as claimant:
            return bring(claimant, number)

    with ThreadPoolExecutor(8) as pool:
        with claims.made_for(ONE) as failing:
            failing.claim(layers)
            failing.brought(layers[7].digest, "")
            others = [pool.submit(project, number) for number in range(8)]
        assert [one.result(timeout=60) for one in others] == list(range(8))
    assert sorted(brought) == sorted(one.digest for one in layers if one is not layers[7])
