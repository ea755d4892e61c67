"""Locked jars into the cache without Maven: from the repositories, at the address that their names give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from builder.cache import Cache
from builder.errors import ArtifactError, LockshipError, StoreError
from builder.lock.download import download
from builder.lock.indexes import IndexFile
from builder.lock.maven import repository_path
from builder.lock.pins import Artifact
from builder.lock.web import Web
from builder.network import Network, redacted
from builder.parallel import each
from builder.progress import Progress

__all__ = ["fetch_jars"]


def fetch_jars(
    jars: Iterable[Artifact], repositories: Sequence[str], *, network: Network, cache: Cache, progress: Progress
) -> None:
    """Get `jars` into the cache, those that are not there yet, from the first of `repositories` (addresses) with them.

    Raises ArtifactError for one that none of them has, VerificationError for other bytes than were locked, StoreError
    when a repository that can't be asked may have it.
    """
    lacking = [one for one in jars if cache.blob(one.digest) is None]
    if not lacking:
        return
    for address in repositories:
        network.check(address)
    with Web(network) as web, progress.task("downloading jars", sum(one.size for one in lacking)) as task:

        def get(jar: Artifact) -> None:
            path = quote(repository_path(jar.name, jar.version))
            failure: LockshipError = ArtifactError(
                f"{jar.name} {jar.version} is in none of {', '.join(map(redacted, repositories))}",
                hint="name the repository that has it under [java] repositories",
            )
            for address in repositories:
                offer = IndexFile(jar.file, f"{address}/{path}", jar.digest, jar.size, False, "", redacted(address))
                try:
                    download(offer, (jar.digest,), web=web, cache=cache, task=task)
                except ArtifactError:  # not there: the next one may have it
                    continue
                except StoreError as error:
                    failure = error
                    continue
                return
            raise failure

        each(lacking, get, web.stop)
