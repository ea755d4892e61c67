"""Layers that several projects want at once: one task for each, until nobody wants it any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builder.content import Digest
from builder.layers.recipe import Layer
from builder.pipeline.cluster.sharing import Sharing
from builder.registry.reference import Repository

ONE, TWO, FAR = Repository("here", "one"), Repository("here", "two"), Repository("there", "one")


@dataclass
class Task:
    """As much of Dask's as is asked for."""

    title: str
    over: bool = False

    def done(self) -> bool:
        return self.over


def layer(number: int) -> Layer:
    digest = Digest.of(str(number).encode())
    return Layer("wheel", digest, 1, digest)


A, B, C = (layer(number) for number in range(3))


def begin(layers: Sequence[Layer]) -> dict[Digest, Any]:
    return {one.digest: Task(str(one.digest)) for one in layers}


def test_one_task_for_all_of_a_registry() -> None:
    sharing = Sharing()
    first, own = sharing.join([A, B], ONE, begin, {})
    assert own == {A.digest, B.digest}
    second, own = sharing.join([B, C], TWO, begin, {})
    assert own == {C.digest}
    assert second[B.digest] is first[B.digest]
    assert first[B.digest].repository == ONE
    far, own = sharing.join([B], FAR, begin, {})
    assert own == {B.digest}
    assert far[B.digest] is not first[B.digest]


def test_what_nobody_waits_for_is_called_off() -> None:
    sharing = Sharing()
    first, _ = sharing.join([A, B, C], ONE, begin, {})
    second, _ = sharing.join([B], TWO, begin, {})
    first[C.digest].future.over = True  # type: ignore[attr-defined]
    assert sharing.leave(first) == [first[A.digest].future]
    assert sharing.leave(second) == [first[B.digest].future]
    again, own = sharing.join([A, B, C], TWO, begin, {})
    assert own == {A.digest, B.digest}, "what is done is still there"
    assert again[C.digest] is first[C.digest]


def test_what_failed_is_begun_once_more_for_all_others() -> None:
    sharing = Sharing()
    failed, _ = sharing.join([A], ONE, begin, {})
    for repository in (TWO, Repository("here", "three")):
        assert sharing.join([A], repository, begin, {})[0] == failed
    anew, own = sharing.join([A], TWO, begin, failed)
    assert own == {A.digest}
    assert anew[A.digest] is not failed[A.digest]
    assert sharing.join([A], Repository("here", "three"), begin, failed) == (anew, set())
    sharing.leave(failed)
    assert sharing.join([A], ONE, begin, {})[0] == anew
