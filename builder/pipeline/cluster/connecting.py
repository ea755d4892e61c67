"""A connection to a Dask scheduler: who answers, whether versions go together, and good-bye."""

from __future__ import annotations

import logging
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from builder.errors import StoreError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connect", "first_line", "put_away", "quiet", "unlike"]

_RETRY: Final = 0.25  # seconds until a scheduler that isn't there is tried again
_GREETING: Final = 1 << 20  # bytes that Dask's first words are surely shorter than
_CLOSE: Final = 2.0  # seconds to say good-bye


@contextmanager
def quiet() -> Iterator[None]:
    """Dask's own words about lost connections: ours say it, with what to do next."""
    logger = logging.getLogger("distributed")
    loggers = [logger, *(logging.getLogger(f"distributed.{name}") for name in ("client", "core", "comm", "batched"))]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


def connect(address: str, timeout: float) -> Client:
    """A client of the scheduler at `address`; raises StoreError when nobody answers within `timeout` seconds."""
    import dask
    from dask.utils import parse_timedelta
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    configured = dask.config.get("distributed.comm.timeouts.connect", None)
    seconds = min(timeout, parse_timedelta(configured)) if configured else timeout
    _greeted(address, seconds)
    client = Client.__new__(Client)  # in two steps: one that couldn't connect is ours to put away
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=VersionMismatchWarning)  # `check` has the last word on versions
            client.__init__(address, timeout=seconds, set_as_default=False)
    except Exception as error:
        put_away(client)
        raise _unanswered(address, first_line(error)) from error
    return client


def _greeted(address: str, seconds: float) -> None:
    """Raises StoreError unless somebody listens who speaks first and with a small frame, as Dask does.

    Its own client waits forever for one who says nothing, and takes the words of others for sizes.
    """
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds) as one:
                if scheme == "tls":
                    return  # who it is, the certificates say
                one.settimeout(max(0.1, end - time.monotonic()))
                head = one.recv(8, socket.MSG_WAITALL)
                if len(head) == 8 and int.from_bytes(head, "little") < _GREETING:
                    return
                raise _unanswered(address, "who listens there speaks another language")
        except TimeoutError as error:
            raise _unanswered(address, f"nothing came within {seconds:.0f} seconds") from error
        except (OSError, OverflowError, UnicodeError) as error:  # the last for what can't be the name of a host
            if time.monotonic() + _RETRY > end or isinstance(error, socket.gaierror | OverflowError | UnicodeError):
                raise _unanswered(address, getattr(error, "strerror", None) or str(error)) from error
            time.sleep(_RETRY)  # it may just be starting


def _unanswered(address: str, reason: str) -> StoreError:
    return StoreError(
        f"{address}: no Dask scheduler answers: {reason}",
        hint="is that its address, is it running, and may this machine reach it? certificates for tls:// are "
        "those of Dask's own configuration (distributed.comm.tls)",
    )


def put_away(client: Client) -> None:
    """End a client's thread, whether it was ever connected or not."""
    with suppress(Exception):
        client.close(timeout=_CLOSE)
    client.status = "closed"  # or it would try once more when it is collected
    with suppress(Exception):
        client._loop_runner.stop()


def unlike(versions: Mapping[str, Any]) -> str | None:
    """What is wrong with the versions that `Client.get_versions` found, or None: all speak one `distributed`."""

    def of(one: Any) -> str:
        packages = one.get("packages", {}) if isinstance(one, dict) else {}
        return str(packages.get("distributed"))

    ours = of(versions.get("client"))
    others = {"the scheduler": of(versions.get("scheduler"))}
    others |= {f"the worker {name}": of(one) for name, one in sorted(versions.get("workers", {}).items())}
    return next(
        (f"{who} has distributed {has}, this machine {ours}" for who, has in others.items() if has != ours), None
    )


def first_line(error: BaseException) -> str:
    """What `error` says, or what it is called when it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
