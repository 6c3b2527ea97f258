"""Both forms of a batch, on real sockets: the plain one says what the C twin must do."""

import errno
import gc
import select
import socket
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.native import twin
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.transport.batch import Batch, PlainBatch, note_arrivals
from opencscf.common.transport.icmp import MAX_READ, Undelivered, note_errors, read_errors
from opencscf.common.transport.udp import bind

SIZE, CAPACITY = 8, 20
HERE = ("127.0.0.1", 5060)
NATIVE: ModuleType | None = twin("opencscf.common.transport._batch")
FORMS: dict[str, Callable[..., Batch]] = {"plain": PlainBatch}
if NATIVE is not None:
    FORMS["C"] = NATIVE.Batch

Open = Callable[[socket.socket], Batch]


def flow_from(host: str, port: int) -> Flow:
    return Flow(Transport.UDP, HERE, (host, port))


@pytest.fixture(params=FORMS.values(), ids=list(FORMS))
def open_one(request: pytest.FixtureRequest) -> Open:
    return lambda opened: request.param(opened, flow_from, SIZE, CAPACITY)


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our socket and somebody else's."""
    address, kind = (request.param, 0), socket.SOCK_DGRAM
    with bind(address, kind, "udp") as ours, bind(address, kind, "udp") as theirs:
        yield ours, theirs


def address_of(opened: socket.socket) -> tuple[str, int]:
    host, port = opened.getsockname()[:2]
    return host, port


def hop_to(opened: socket.socket) -> Hop:
    return Hop(Transport.UDP, *address_of(opened))


def receive(batch: Batch, opened: socket.socket) -> list[tuple[bytes, Flow]]:
    assert select.select([opened], [], [], 5)[0]
    return batch.receive()


def test_datagrams_come_in_order_with_their_flow(open_one: Open, pair: Any) -> None:
    ours, theirs = pair
    batch = open_one(ours)
    for number in range(SIZE + 2):
        theirs.sendto(b"%d" % number, ours.getsockname())
    time.sleep(0.01)
    first, second = receive(batch, ours), receive(batch, ours)
    assert [data for data, _ in first + second] == [b"%d" % number for number in range(SIZE + 2)]
    assert (len(first), len(second)) == (SIZE, 2)
    assert {flow for _, flow in first + second} == {flow_from(*address_of(theirs))}
    assert first[0][1] is second[0][1]  # made once
    assert batch.receive() == []


@pytest.mark.parametrize("data", [b"", b"\0", b"x" * 65_507])
def test_any_size_arrives_whole(open_one: Open, pair: Any, data: bytes) -> None:
    ours, theirs = pair
    batch, other = open_one(ours), open_one(theirs)
    assert batch.queue(data, *address_of(theirs), hop_to(theirs)) == 1
    assert batch.flush() == []
    assert receive(other, theirs) == [(data, flow_from(*address_of(ours)))]


def test_the_queue_leaves_in_order_and_at_once(open_one: Open, pair: Any) -> None:
    ours, theirs = pair
    batch = open_one(ours)
    for number in range(CAPACITY):
        assert batch.queue(b"%d" % number, *address_of(theirs), hop_to(theirs)) == number + 1
    assert batch.queue(b"too many", *address_of(theirs), hop_to(theirs)) == 0
    assert (batch.waiting, batch.sent) == (CAPACITY, 0)
    assert batch.flush() == []
    assert (batch.waiting, batch.sent) == (0, CAPACITY)
    assert [theirs.recv(100) for _ in range(CAPACITY)] == [b"%d" % number for number in range(CAPACITY)]
    assert batch.queue(b"again", *address_of(theirs), hop_to(theirs)) == 1


def test_each_failure_comes_back_with_its_target_and_the_others_leave(open_one: Open, pair: Any) -> None:
    ours, theirs = pair
    batch = open_one(ours)
    host, port = address_of(theirs)
    nowhere = Hop(Transport.UDP, host, 0)
    batch.queue(b"1", host, port, hop_to(theirs))
    batch.queue(b"2", host, 0, nowhere)
    batch.queue(b"x" * 65_536, host, port, flow_from(host, port))
    batch.queue(b"3", host, port, hop_to(theirs))
    assert batch.flush() == [(nowhere, errno.EINVAL), (flow_from(host, port), errno.EMSGSIZE)]
    assert [theirs.recv(10), theirs.recv(10)] == [b"1", b"3"]
    assert (batch.sent, batch.waiting) == (2, 0)


@pytest.mark.parametrize(
    ("host", "port", "error"),
    [
        ("127.0.0.1", 65_536, OverflowError),
        ("127.0.0.1", -1, OverflowError),
        ("127.0.0.1", 1 << 70, OverflowError),
        ("", 5060, ValueError),
        ("ims.test", 5060, ValueError),
        ("127.0.0.1\0", 5060, ValueError),
        ("::1" + "0" * 100, 5060, ValueError),
        ("\udc80", 5060, ValueError),
    ],
)
def test_what_is_no_address_is_not_queued(open_one: Open, pair: Any, host: str, port: int, error: Any) -> None:
    batch = open_one(pair[0])
    with pytest.raises(error):
        batch.queue(b"x", host, port, hop_to(pair[1]))
    assert batch.waiting == 0


def test_what_finds_no_room_waits(run: Any, listen: Any, options: Any) -> None:
    """A tiny send buffer; what it does not take leaves later, and no message is lost."""

    async def scenario() -> None:
        async with listen() as ours, listen() as theirs:
            (listener,) = ours.endpoint._udp
            listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            for _ in range(500):
                ours.endpoint.send(bytes(options), Flow(Transport.UDP, ours.address, theirs.address))
            for _ in range(500):
                await theirs.received.get()
            assert ours.endpoint.counters()["udp_send_drops"] == 0

    run(scenario())


def test_the_kernel_says_when_it_received(open_one: Open, pair: Any) -> None:
    ours, theirs = pair
    batch = open_one(ours)
    theirs.sendto(b"x", ours.getsockname())
    receive(batch, ours)
    assert batch.waited_s == 0.0
    note_arrivals(ours)
    for _ in range(100):  # the kernel may have begun to note it a little later, as this is switched for all sockets
        theirs.sendto(b"x", ours.getsockname())
        time.sleep(0.02)
        receive(batch, ours)
        if batch.waited_s >= 0.02:
            break
    assert batch.waited_s >= 0.02


def dead_port(host: str) -> int:
    """Return a port at which nobody is."""
    with bind((host, 0), socket.SOCK_DGRAM, "udp") as gone:
        return address_of(gone)[1]


def test_the_fate_of_one_datagram_is_not_taken_for_that_of_another(open_one: Open, pair: Any) -> None:
    """18.4: the kernel tells at the next system call, whatever that is about."""
    ours, theirs = pair
    note_errors(ours)
    batch = open_one(ours)
    host, port = address_of(theirs)
    dead = dead_port(host)
    assert not batch.has_errors
    for number in range(5):
        batch.queue(b"%d" % number, host, dead, Hop(Transport.UDP, host, dead))
        batch.queue(b"%d" % number, host, port, hop_to(theirs))
    assert batch.flush() == []
    assert (batch.sent, batch.waiting) == (10, 0)
    assert [theirs.recv(10) for _ in range(5)] == [b"%d" % number for number in range(5)]
    theirs.sendto(b"x", ours.getsockname())
    assert receive(batch, ours) == [(b"x", flow_from(host, port))]
    assert batch.receive() == []
    assert batch.has_errors
    news, batch.has_errors = read_errors(ours)
    assert news == [Undelivered(b"%d" % number, (host, dead), "connection refused") for number in range(5)]
    assert not batch.has_errors


def test_no_more_news_than_a_turn_may_take(open_one: Open, pair: Any) -> None:
    ours, _ = pair
    note_errors(ours)
    batch = open_one(ours)
    host = address_of(ours)[0]
    dead = dead_port(host)
    for _ in range(MAX_READ + 1):
        batch.queue(b"x", host, dead, Hop(Transport.UDP, host, dead))
        batch.flush()
    news, is_more = read_errors(ours)
    assert (len(news), is_more) == (MAX_READ, True)
    news, is_more = read_errors(ours)
    assert (len(news), is_more) == (1, False)


def test_a_closed_batch_does_nothing(open_one: Open, pair: Any) -> None:
    ours, theirs = pair
    batch = open_one(ours)
    batch.queue(b"x", *address_of(theirs), hop_to(theirs))
    batch.close()
    assert batch.waiting == 0
    assert batch.queue(b"x", *address_of(theirs), hop_to(theirs)) == 0
    assert (batch.receive(), batch.flush()) == ([], [])


def test_more_sources_than_are_remembered_are_told_apart(open_one: Open) -> None:
    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as ours:
        batch = open_one(ours)
        for number in range(3000):
            source = (f"127.0.{number // 250}.{number % 250 + 1}", 0)
            with bind(source, socket.SOCK_DGRAM, "udp") as theirs:
                theirs.sendto(b"x", ours.getsockname())
                assert receive(batch, ours) == [(b"x", flow_from(*address_of(theirs)))]


def test_a_fault_in_making_a_flow_is_told(pair: Any) -> None:
    ours, theirs = pair
    for form in FORMS.values():
        batch = form(ours, lambda host, port: 1 / 0, SIZE, CAPACITY)
        theirs.sendto(b"x", ours.getsockname())
        with pytest.raises(ZeroDivisionError):
            receive(batch, ours)
        theirs.sendto(b"y", ours.getsockname())
        with pytest.raises(ZeroDivisionError):
            receive(batch, ours)


def test_nothing_leaks(open_one: Open, pair: Any) -> None:
    ours, theirs = pair
    batch = open_one(ours)
    data, target = b"x" * 5000, hop_to(theirs)

    def some() -> None:
        for _ in range(200):
            batch.queue(data, *address_of(theirs), target)
            batch.queue(data, target.host, 0, target)
            batch.flush()
            theirs.recv(10_000)
            theirs.sendto(data, ours.getsockname())
            receive(batch, ours)

    some()
    gc.collect()
    tracemalloc.start()
    some()
    before, counts = tracemalloc.get_traced_memory()[0], (sys.getrefcount(data), sys.getrefcount(target))
    for _ in range(5):
        some()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 4000
    assert counts == (sys.getrefcount(data), sys.getrefcount(target))
    batch.queue(data, target.host, target.port, target)
    batch.close()
    assert counts == (sys.getrefcount(data), sys.getrefcount(target))


@pytest.mark.skipif(NATIVE is None, reason="there is no C twin")
@given(host=st.text(max_size=60) | st.ip_addresses().map(str), port=st.integers(-2, 70_000))
def test_both_forms_agree_on_what_an_address_is(host: str, port: int) -> None:
    assert NATIVE is not None
    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as opened:
        answers = []
        for form in (PlainBatch, NATIVE.Batch):
            batch = form(opened, flow_from, 1, 1)
            try:
                answers.append(batch.queue(b"x", host, port, Hop(Transport.UDP, host, port)))
            except (OverflowError, ValueError) as error:
                answers.append(type(error) is OverflowError)
        assert answers[0] == answers[1]


@pytest.mark.skipif(NATIVE is None, reason="there is no C twin")
@pytest.mark.parametrize(
    "arguments", [(), (b"x",), ("x", "::1", 1, None), (b"x", b"::1", 1, None), (b"x", "::1", "1", None)]
)
def test_the_twin_refuses_other_types(arguments: tuple[Any, ...]) -> None:
    assert NATIVE is not None
    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as opened:
        with pytest.raises(TypeError):
            NATIVE.Batch(opened, flow_from, 1, 1).queue(*arguments)
        with pytest.raises(ValueError, match="size"):
            NATIVE.Batch(opened, flow_from, 0, 1)
