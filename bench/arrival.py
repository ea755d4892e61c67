"""One changed dependency on its way from a registry into an engine that has the version before."""

from __future__ import annotations

from bench.measure import Cost
from bench.registry import registry
from bench.releases import OURS, THEIRS, Team, shipped
from bench.rows import Row
from bench.samples import Sample, metered, taking_turns
from bench.stage import Stage, say

__all__ = ["arrival_row"]

PULLED = "docker pull of lockship's image"


def arrival_row(stage: Stage) -> Row:
    """``lockship load REFERENCE`` and ``docker pull``, of images that lockship and docker have pushed."""
    ours, theirs = shipped(stage), Team(stage)
    docker = theirs.docker
    with registry(stage.folder) as where:
        say("arrival: two versions from each side into a registry")
        names: dict[str, dict[str, str]] = {OURS: {}, THEIRS: {}}
        for lock in ("old", "new"):
            ours.switch(lock)
            names[OURS][lock] = ours.release(f"{where.host}/bench/arrival")
            ours.call("push")
            names[THEIRS][lock] = f"{where.host}/bench/arrival-docker:{lock}"
            theirs.at(lock)
            theirs.release(where, names[THEIRS][lock])
        theirs.forget(theirs.context.tag)
        docker.prune()  # or the engine would find the layers there

        def load(name: str) -> Cost:
            docker.adopt(name)
            return ours.call("load", name)

        def pull(name: str) -> Cost:
            docker.adopt(name)
            return docker.call("pull", "--quiet", name)

        def loaded() -> Sample:
            theirs.forget(*names[OURS].values())
            load(names[OURS]["old"])
            return metered(where, lambda: load(names[OURS]["new"]))

        def pulled_ours() -> Sample:
            theirs.forget(*names[OURS].values())
            pull(names[OURS]["old"])
            sample = metered(where, lambda: pull(names[OURS]["new"]))
            theirs.forget(*names[OURS].values())
            return sample

        def pulled() -> Sample:
            theirs.forget(names[THEIRS]["new"])
            pull(names[THEIRS]["old"])
            return metered(where, lambda: pull(names[THEIRS]["new"]))

        title = f"one changed dependency into an engine ({stage.facts['bumped']})"
        sides = {OURS: loaded, PULLED: pulled_ours, THEIRS: pulled}
        return taking_turns("arrival", title, sides, stage.repeat)
