import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from opencscf.common.errors import StartupError
from opencscf.common.node.settings import ListenSettings, ListenTransport
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.transport.endpoint import MAX_ROUTES, SipEndpoint
from opencscf.common.transport.udp import bind


def test_a_flow_leaves_where_it_came_in(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen("127.0.0.1", "127.0.0.2") as near, listen() as far:
            second = near.endpoint.addresses[1]
            near.endpoint.send(bytes(options), Flow(Transport.UDP, second, far.address))
            _, flow = await far.received.get()
            assert flow.remote == second
            assert near.endpoint.local_for(Flow(Transport.UDP, second, far.address)) == second

    run(scenario())


def test_a_flow_is_open_as_long_as_its_connection(run: Any, listen: Any, options: Any) -> None:
    """3261-18.2.2: then a response takes another way."""

    async def scenario() -> None:
        async with listen() as near:
            host, port = near.address
            _, writer = await asyncio.open_connection(host, port)
            writer.write(bytes(options))
            _, flow = await near.received.get()
            assert near.endpoint.is_open(flow)
            assert near.endpoint.is_open(Flow(Transport.UDP, near.address, (host, 5062)))
            assert not near.endpoint.is_open(Flow(Transport.WS, near.address, (host, 5062)))
            writer.close()
            await writer.wait_closed()
            for _ in range(500):
                if near.endpoint.is_open(flow):
                    await asyncio.sleep(0.01)
            assert not near.endpoint.is_open(flow)

    run(scenario())


def test_a_hop_leaves_from_a_listener_of_its_transport_and_ip_version(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen("127.0.0.1", "::1") as heard:
            four, six = heard.endpoint.addresses
            assert heard.endpoint.local_for(Hop(Transport.UDP, "127.0.0.9", 5060)) == four
            assert heard.endpoint.local_for(Hop(Transport.TCP, "::1", 5060)) == six
            assert heard.endpoint.ip_versions == {4, 6}

    run(scenario())


def test_of_several_listeners_the_one_that_routes_prefer_is_taken(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen("127.0.0.2", "127.0.0.1") as heard:
            second = heard.endpoint.addresses[1]
            assert heard.endpoint.local_for(Hop(Transport.UDP, "127.0.0.9", 5060)) == second

    run(scenario())


def test_how_large_a_request_may_be_follows_from_the_route(run: Any, listen: Any) -> None:
    """SP-04: loopback carries 64 KiB, and without TCP there is no choice."""

    loopback = min(int(Path("/sys/class/net/lo/mtu").read_text()), 65_535)  # IPv4 knows no larger packet

    async def scenario() -> None:
        hop = Hop(Transport.UDP, "127.0.0.9", 5060)
        async with listen("127.0.0.1") as heard:
            assert heard.endpoint.max_udp_request_bytes(hop) == loopback - 200
        async with listen("127.0.0.1", transports=(ListenTransport.UDP,)) as heard:
            assert heard.endpoint.max_udp_request_bytes(hop) == 65_535

    run(scenario())


@pytest.mark.parametrize(
    ("hop", "reason"),
    [
        (Hop(Transport.UDP, "::1", 5060), "no listener for UDP over IPv6"),
        (Hop(Transport.TCP, "127.0.0.1", 5060), "no listener for TCP over IPv4"),
        (Hop(Transport.TLS, "127.0.0.1", 5061), "no listener for TLS over IPv4"),
    ],
)
def test_without_a_listener_sending_fails_later(run: Any, listen: Any, hop: Hop, reason: str) -> None:
    async def scenario() -> None:
        async with listen("127.0.0.1", transports=(ListenTransport.UDP,)) as heard:
            heard.endpoint.send(b"x", hop)
            assert heard.failed.empty()
            assert await heard.failed.get() == (hop, reason)
            assert heard.endpoint.local_for(hop) == heard.address

    run(scenario())


def test_one_busy_port_frees_the_others(run: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with (
            bind(("127.0.0.1", 0), socket.SOCK_STREAM, "tcp") as taken,
            bind(("127.0.0.2", 0), socket.SOCK_DGRAM, "udp") as free,
        ):
            busy, other = taken.getsockname(), free.getsockname()
            free.close()
            settings = [ListenSettings(other[0], other[1], (ListenTransport.UDP,)), ListenSettings(busy[0], busy[1])]
            with pytest.raises(StartupError, match=rf"^sip\.listen: 127\.0\.0\.1:{busy[1]}/tcp is in use"):
                SipEndpoint(loop, settings)
            for address in (other, busy):
                bind(address, socket.SOCK_DGRAM, "udp").close()

    run(scenario())


def test_listeners_are_remembered_for_a_limited_number_of_hops(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen("127.0.0.1", "::1") as heard:
            four, six = heard.endpoint.addresses
            for port in range(1, MAX_ROUTES + 10):
                assert heard.endpoint.local_for(Hop(Transport.UDP, "127.0.0.9", port)) == four
            assert heard.endpoint.local_for(Hop(Transport.UDP, "::1", 1)) == six
            assert len(heard.endpoint._chosen) <= MAX_ROUTES

    run(scenario())
