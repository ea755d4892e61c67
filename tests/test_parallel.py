"""Several transfers at once: all of their results, or the first failure, and nobody who goes on for nothing."""

from __future__ import annotations

import socket
import threading

import httpx
import pytest

from builder.errors import StoreError
from builder.parallel import Stop, StoppedError, each, each_alone
from tests.registry.impostor import Reply, impostor


def test_results_come_in_order() -> None:
    assert each(list(range(100)), lambda number: number * 2, Stop()) == list(range(0, 200, 2))
    assert each([], lambda number: number, Stop()) == []
    assert each([7], lambda number: number, Stop(), threads=8) == [7]


def test_no_more_than_so_many_at_once() -> None:
    meeting, running, most = threading.Barrier(3), 0, 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meeting.wait(30)  # it takes three of them
        with lock:
            running -= 1

    each(list(range(9)), work, Stop(), threads=3)
    assert most == 3


def test_the_first_failure_ends_the_others() -> None:
    stop, begun = Stop(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise StoreError("broke")
        stop.wait(60)

    with pytest.raises(StoreError, match="broke"):
        each(list(range(100)), work, stop, threads=4)
    assert sorted(begun) == [0, 1, 2, 3]
    assert not [one for one in threading.enumerate() if one.name == "lockship-transfer"]


def test_somebody_elses_stop_is_no_result() -> None:
    stop = Stop()

    def work(number: int) -> int:
        if number == 1:
            stop.set()
        stop.check()
        return number

    with pytest.raises(StoppedError):
        each([0, 1, 2], work, stop, threads=1)
    with pytest.raises(StoppedError):
        each([0], lambda number: number, stop)


def test_a_stop_that_comes_too_late_changes_nothing() -> None:
    stop = Stop()

    def work(number: int) -> int:
        if number == 2:
            stop.set()
        return number

    assert each([0, 1, 2], work, stop, threads=1) == [0, 1, 2]


def test_a_stop_ends_a_pause() -> None:
    stop = Stop()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(StoppedError):
        stop.wait(600)
    stop = Stop()
    stop.wait(0.01)  # nobody said anything


def test_a_stop_cuts_the_connections_that_are_watched() -> None:
    stop, coming, gone = Stop(), threading.Event(), threading.Event()

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        return 200, {"Content-Length": "1000"}, b"not all of it"

    def read() -> None:
        with (
            httpx.Client(trust_env=False) as client,
            client.stream("GET", f"http://{host}/") as response,
            stop.watching(response),
            pytest.raises(httpx.TransportError),
        ):
            for _ in response.iter_raw():
                coming.set()
        gone.set()

    with impostor(replies) as host:
        thread = threading.Thread(target=read)
        thread.start()
        assert coming.wait(30)
        stop.set()
        assert gone.wait(30)
        thread.join()


def test_who_comes_to_be_watched_after_a_stop_does_not_begin() -> None:
    left, right = socket.socketpair()
    stop = Stop()
    stop.set()

    class Stream:
        def get_extra_info(self, name: str) -> socket.socket:
            return left

    response = httpx.Response(200, extensions={"network_stream": Stream()})
    with left, right, pytest.raises(StoppedError), stop.watching(response):
        raise AssertionError("it began")


def test_what_one_fails_at_or_is_stopped_by_ends_no_other() -> None:
    stops = [Stop() for _ in range(3)]

    def work(number: int) -> int:
        if number == 0:
            stops[0].set()
            stops[0].check()
        if number == 1:
            raise StoreError("no")
        return number

    first, second, third = each_alone(range(3), work, stops)
    assert isinstance(first, StoppedError) and isinstance(second, StoreError)
    assert third == 2


def test_whoever_stops_all_stops_each() -> None:
    stops = [Stop() for _ in range(3)]

    def work(number: int) -> int:
        if number == 0:
            raise KeyboardInterrupt
        stops[number].wait(60)
        return number

    with pytest.raises(KeyboardInterrupt):
        each_alone(range(3), work, stops, threads=3)
    for one in stops:
        with pytest.raises(StoppedError):
            one.check()
