"""Double Record-Route: a proxy between two transports or address families (RFC 5658, RFC 3261 16.6 step 4)."""

import itertools
from typing import Any

import pytest

from opencscf.common.actions import Branch, Forward, Outcome, RecordRoute
from opencscf.common.events import Event, RequestReceived
from opencscf.common.sip.exchange import Target
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.headers import NameAddr
from opencscf.common.sip.message import Request
from opencscf.common.sip.parser import parse
from opencscf.common.sip.proxy import OwnUris, strip_own_routes

ADDRESSES = {4: ("192.0.2.10", "192.0.2.200"), 6: ("2001:db8::10", "2001:db8::200")}  # ours, theirs
PORTS = {Transport.UDP: 5060, Transport.TCP: 5060, Transport.TLS: 5061, Transport.WS: 80}
OWN = OwnUris.of([(ours, port) for ours, _ in ADDRESSES.values() for port in PORTS.values()])
# What the RFC's own examples and their kin join: every transport with every other one, in both families.
SIDES = [(transport, version) for transport in (Transport.UDP, Transport.TCP, Transport.TLS) for version in (4, 6)]
PAIRS = [
    *itertools.product(SIDES, repeat=2),
    ((Transport.WS, 4), (Transport.UDP, 6)),
    ((Transport.WS, 6), (Transport.TLS, 4)),
]


def flow(side: tuple[Transport, int], port: int) -> Flow:
    transport, version = side
    ours, theirs = ADDRESSES[version]
    return Flow(transport, (ours, PORTS[transport]), (theirs, port), 0 if transport is Transport.UDP else port)


def invite(source: Flow) -> bytes:
    host = f"[{source.remote[0]}]" if source.is_ipv6 else source.remote[0]
    return (
        "INVITE sip:bob@example.com SIP/2.0\r\n"
        f"Via: SIP/2.0/{source.transport} {host}:{source.remote[1]};branch=z9hG4bK1\r\n"
        "From: <sip:a@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def leads_to(route: NameAddr, side: tuple[Transport, int]) -> bool:
    """Whether a Record-Route value is the way back to us from one side."""
    transport, version = side
    uri = route.sip_uri
    return (
        uri.lr
        and (uri.transport or "udp") == transport.lower()
        and (uri.host, uri.port) == (ADDRESSES[version][0], PORTS[transport])
    )


def local_for(target: Target) -> tuple[str, int]:
    assert isinstance(target, Flow)
    return target.local


def name(pair: Any) -> str:
    (inbound, v_in), (outbound, v_out) = pair
    return f"5658 {inbound}/IPv{v_in} to {outbound}/IPv{v_out}"


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_each_side_is_told_how_to_come_back(proxy: Any, pair: Any) -> None:
    """RFC 5658 5: the upper value is for the side it goes to, the lower one for the side it came from."""
    source, target = flow(pair[0], 40_001), flow(pair[1], 40_002)

    def decide(event: Event) -> Outcome:
        assert isinstance(event, RequestReceived)
        return [Forward((Branch(event.request.copy(), flow=target),), RecordRoute("mo", "mo"))]

    proxy.decide, proxy.stack._local_for = decide, local_for
    proxy.receive(invite(source), source)
    (forwarded,) = [parse(data) for data, to in proxy.sent if to == target and data.startswith(b"INVITE")]
    routes = forwarded.record_routes
    if pair[0] == pair[1]:
        assert len(routes) == 1
    else:
        assert len(routes) == 2
    assert leads_to(routes[0], pair[1])
    assert leads_to(routes[-1], pair[0])
    for route_set in (routes, routes[::-1]):  # the callee's way and the caller's (RFC 3261 12.1)
        within = Request.new("BYE", "sip:x@example.com", [("Route", str(route)) for route in route_set])
        assert len(strip_own_routes(within, OWN)) == len(routes), "both of our values go at once"
        assert within.routes == []
