"""The referrers API (OCI distribution spec v1.1, "Listing Referrers"), for a proxy before a registry that lacks it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["ReferrersApi"]

_INDEX = "application/vnd.oci.image.index.v1+json"


class ReferrersApi:
    """Learns from the manifests that pass which of them have a subject. `page` limits the entries of one answer."""

    def __init__(self, page: int = 0) -> None:
        self.page = page
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}

    def learn(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Take note of a manifest that the registry took or dropped; the headers to add to its answer."""
        found = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", urlsplit(path).path)
        if found is None or method not in ("PUT", "DELETE"):
            return {}
        repository = found[1]
        with self._lock:
            if method == "DELETE":
                for (name, _), entries in self._known.items():
                    if name == repository:
                        entries.pop(found[2], None)
                return {}
            document = json.loads(body)
            subject = document.get("subject")
            if subject is None:
                return {}
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            entry = {
                "mediaType": headers.get("content-type", document.get("mediaType")),
                "digest": digest,
                "size": len(body),
                "artifactType": document.get("artifactType") or document.get("config", {}).get("mediaType"),
            }
            if annotations := document.get("annotations"):
                entry["annotations"] = annotations
            self._known.setdefault((repository, subject["digest"]), {})[digest] = entry
            return {"OCI-Subject": subject["digest"]}

    def answer(self, path: str) -> tuple[dict[str, str], bytes] | None:
        """Headers and body for a request of the API, or None for any other."""
        parts = urlsplit(path)
        found = re.fullmatch(r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})", parts.path)
        if found is None:
            return None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            entries = list(self._known.get((found[1], found[2]), {}).values())
        headers = {"Content-Type": _INDEX}
        if (wanted := query.get("artifactType")) is not None:
            entries = [entry for entry in entries if entry["artifactType"] == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        first = int(query.get("after", 0))
        if self.page and first + self.page < len(entries):
            headers["Link"] = f'<{parts.path}?after={first + self.page}>; rel="next"'
        shown = entries[first : first + self.page] if self.page else entries
        body = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": shown}
        return headers, json.dumps(body).encode()
