import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from opencscf.common.errors import StartupError
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.transport.batch import MAX_BATCH
from opencscf.common.transport.handlers import Handlers
from opencscf.common.transport.icmp import Undelivered, _final_error
from opencscf.common.transport.udp import UdpListener, bind


@pytest.fixture(params=["127.0.0.1", "::1"])
def peer(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A UDP socket of somebody else."""
    with socket.socket(socket.AF_INET6 if ":" in request.param else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((request.param, 0))
        opened.settimeout(5)
        yield opened


def test_a_datagram_is_a_message_with_its_flow(run: Any, listen: Any, options: Any, peer: socket.socket) -> None:
    """SP-04, UDP over IPv4 and IPv6."""
    address = peer.getsockname()

    async def scenario() -> None:
        async with listen(address[0]) as heard:
            peer.sendto(bytes(options), heard.address)
            message, flow = await heard.received.get()
            assert bytes(message) == bytes(options)
            assert flow == Flow(Transport.UDP, heard.address, address[:2])
            heard.endpoint.send(b"back", flow)
            heard.endpoint.send(b"again", Hop(Transport.UDP, address[0], address[1]))
            await asyncio.sleep(0)  # at the end of the loop's turn they leave
            assert peer.recv(100) == b"back"
            assert peer.recv(100) == b"again"

    run(scenario())


def test_a_burst_beyond_one_batch_is_received_whole(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                for _ in range(3 * MAX_BATCH + 1):
                    peer.sendto(bytes(options), heard.address)
            for _ in range(3 * MAX_BATCH + 1):
                await heard.received.get()
            assert heard.endpoint.counters()["udp_received"] == 3 * MAX_BATCH + 1
            assert heard.endpoint.counters()["udp_receive_drops"] == 0

    run(scenario())


def test_what_nobody_takes_is_told_at_once(run: Any, listen: Any, options: Any, peer: socket.socket) -> None:
    """18.4; and the socket lives on."""
    host = peer.getsockname()[0]
    with bind((host, 0), socket.SOCK_DGRAM, "udp") as gone:
        dead = gone.getsockname()[1]

    async def scenario() -> None:
        async with listen(host) as heard:
            for _ in range(3):
                heard.endpoint.send(bytes(options), Hop(Transport.UDP, host, dead))
                told = await heard.undelivered.get()
                assert told == Undelivered(bytes(options)[: len(told.quote)], (host, dead), "connection refused")
                assert told.quote.startswith(b"OPTIONS ")
                peer.sendto(bytes(options), heard.address)
                await heard.received.get()
            assert heard.failed.empty()

    run(scenario())


def test_news_that_nobody_wants_neither_spins_nor_deafens(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            (listener,) = heard.endpoint._udp
            with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as gone:
                dead = gone.getsockname()
            for _ in range(200):  # more than a turn of the loop takes
                heard.endpoint.send(bytes(options), Hop(Transport.UDP, *dead))
            for _ in range(200):
                await heard.undelivered.get()
            assert not listener._events.poll(0)
            heard.endpoint.send(bytes(options), Hop(Transport.UDP, *heard.address))
            await heard.received.get()

    run(scenario())


@pytest.mark.parametrize(
    ("origin", "icmp_type", "code", "told"),
    [
        pytest.param(2, 3, 1, 111, id="18.4 host unreachable"),
        pytest.param(2, 3, 3, 111, id="18.4 port unreachable"),
        pytest.param(2, 12, 0, 111, id="18.4 parameter problem"),
        pytest.param(2, 3, 4, 0, id="18.1.1 fragmentation needed"),
        pytest.param(2, 4, 0, 0, id="18.4 source quench"),
        pytest.param(2, 11, 0, 0, id="18.4 TTL exceeded"),
        pytest.param(3, 1, 4, 111, id="18.4 ICMPv6 port unreachable"),
        pytest.param(3, 2, 0, 0, id="18.4 ICMPv6 packet too big"),
        pytest.param(3, 4, 1, 111, id="18.4 ICMPv6 parameter problem"),
        pytest.param(1, 3, 3, 0, id="of the host itself"),
    ],
)
def test_what_icmp_tells_is_final_or_not(origin: int, icmp_type: int, code: int, told: int) -> None:
    assert _final_error([(0, 11, struct.pack("=IBBBBII", 111, origin, icmp_type, code, 0, 0, 0))]) == told
    assert _final_error([(0, 11, b"\0"), (1, 11, b"")]) == 0


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\r\n", b"\0", b"", b"\0\0\0\0"])
def test_keep_alives_are_silently_ignored(run: Any, listen: Any, options: Any, data: bytes) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.sendto(data, heard.address)
                peer.sendto(bytes(options), heard.address)
            await heard.received.get()
            assert heard.malformed.empty()

    run(scenario())


def test_what_is_no_message_is_malformed_and_the_next_is_heard(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.sendto(b"\xff\x00 nonsense", heard.address)
                peer.sendto(b"x" * 60_000, heard.address)
                peer.sendto(bytes(options), heard.address)
            data, error, flow = await heard.malformed.get()
            assert (data, error.status, flow.local) == (b"\xff\x00 nonsense", 400, heard.address)
            await heard.malformed.get()
            await heard.received.get()

    run(scenario())


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        pytest.param("127.0.0.1", 0, "invalid argument", id="18.4 port 0"),
        pytest.param("127.0.0.1", 99_999, "port must be 0-65535", id="18.4 port too high"),
        pytest.param("255.255.255.255", 5060, "permission denied", id="18.4 broadcast"),
    ],
)
def test_what_cannot_be_sent_fails_later(run: Any, listen: Any, host: str, port: int, reason: str) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            hop = Hop(Transport.UDP, host, port)
            heard.endpoint.send(b"x", hop)
            assert heard.failed.empty()
            target, told = await heard.failed.get()
            assert target == hop
            assert reason in told

    run(scenario())


def test_too_large_a_datagram_fails(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            heard.endpoint.send(b"x" * 65_536, Hop(Transport.UDP, "127.0.0.1", 9))
            assert (await heard.failed.get())[1] == "message too long"

    run(scenario())


def test_a_busy_port_is_one_line() -> None:
    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=rf"^127\.0\.0\.1:{port}/udp is in use by another process$"):
            bind(("127.0.0.1", port), socket.SOCK_DGRAM, "udp")


def test_an_address_of_another_host_is_one_line() -> None:
    with pytest.raises(StartupError, match=r"^\[2001:db8::1\]:5060/udp cannot be opened: this host does not have"):
        bind(("2001:db8::1", 5060), socket.SOCK_DGRAM, "udp")


def test_a_closed_listener_frees_its_port(run: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        first = UdpListener(loop, ("127.0.0.1", 0))
        first.start(Handlers(*[lambda *_: None] * 3))
        first.close()
        first.close()
        second = UdpListener(loop, first.address)
        assert second.address == first.address
        second.close()

    run(scenario())
