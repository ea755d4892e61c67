"""One model, one file: what differs from process to process is fixed, sorted or left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["canonicalised", "serialised"]

PRODUCER = "lockship"


def canonicalised(model: Any, name: str, *, ir: int | None = None, metadata: Mapping[str, str] | None = None) -> Any:
    """`model`, changed in place: names of graph and producer, operator sets in order and once, no descriptions."""
    graph = model.graph
    graph.name = name
    model.producer_name, model.producer_version, model.domain, model.model_version = PRODUCER, "", "", 0
    for holder in (model, graph):
        holder.doc_string = ""
    _operator_sets(model)
    if ir is not None:
        model.ir_version = ir
    del graph.value_info[:]
    _renamed(graph)
    del model.metadata_props[:]
    del graph.metadata_props[:]
    for key, value in sorted((metadata or {}).items()):
        model.metadata_props.add(key=key, value=value)
    return model


def _operator_sets(model: Any) -> None:
    versions: dict[str, int] = {}
    for one in model.opset_import:
        versions[one.domain] = max(one.version, versions.get(one.domain, 0))
    used = {node.domain for node in _nodes(model.graph)} | {node.domain for f in model.functions for node in f.node}
    used |= {""}
    del model.opset_import[:]
    for domain, version in sorted(versions.items()):
        if domain in used:
            model.opset_import.add(domain=domain, version=version)


def _nodes(graph: Any) -> list[Any]:
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found += _nodes(inner)
    return found


def _renamed(graph: Any) -> None:
    """Nodes by their number: their names come from counters that other models in the process moved on."""
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}-{number}"
        node.doc_string = ""
        del node.metadata_props[:]
        attributes = sorted(node.attribute, key=lambda one: one.name)
        copies = [type(one).FromString(one.SerializeToString()) for one in attributes]
        del node.attribute[:]
        node.attribute.extend(copies)


def serialised(model: Any) -> bytes:
    """The bytes, the same for the same model. Raises ValueError when it is too large for one message (2 GB)."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data
