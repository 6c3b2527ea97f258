"""Where a URI leads (SP-07), with DNS played by a table of records."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip.flow import Hop, Transport
from opencscf.common.sip.headers import Via
from opencscf.common.sip.locate import (
    MAX_ADDRESSES,
    MAX_SERVERS,
    MAX_SHOWN,
    Answer,
    Destination,
    Lookup,
    Naptr,
    Reach,
    RecordType,
    Route,
    Server,
    Srv,
    draw_by_weight,
    fixed_route,
    locate,
    numeric,
)
from opencscf.common.sip.uri import SipUri

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS
PLAIN = Reach(frozenset({UDP, TCP}), frozenset({4}))
WITH_TLS = Reach(frozenset({UDP, TCP, TLS}), frozenset({4}))
DUAL_STACK = Reach(frozenset({UDP, TCP}), frozenset({4, 6}))

ADDRESSES = {"A a.test": ["192.0.2.1"], "A b.test": ["192.0.2.2"], "A ims.test": ["192.0.2.9"]}
UDP_SRV = {"SRV _sip._udp.ims.test": [Srv(10, 0, 5070, "a.test")]}
TCP_SRV = {"SRV _sip._tcp.ims.test": [Srv(10, 0, 5080, "b.test")]}
TLS_SRV = {"SRV _sips._tcp.ims.test": [Srv(10, 0, 5081, "b.test")]}


def naptr(order: int, preference: int, service: str, replacement: str, flags: str = "s", regexp: str = "") -> Naptr:
    return Naptr(order, preference, flags, service, regexp, replacement)


D2U = naptr(20, 10, "SIP+D2U", "_sip._udp.ims.test")
D2T = naptr(10, 10, "SIP+D2T", "_sip._tcp.ims.test")
SECURE_D2T = naptr(5, 10, "SIPS+D2T", "_sips._tcp.ims.test")


class Zone:
    """Records by question; an `Answer` stands for itself."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self.records = {question: found for table in records for question, found in table.items()}
        self.rounds: list[list[str]] = []

    def answer(self, lookup: Lookup) -> Answer:
        found = self.records.get(str(lookup))
        if found is None:
            return Answer(reason="no such name, says ns")
        return found if isinstance(found, Answer) else Answer(tuple(found))

    def route(self, uri: str, reach: Reach = PLAIN) -> Route:
        procedure = locate(Destination.of(SipUri.parse(uri)), reach)
        answers: Any = None
        try:
            while True:
                lookups = procedure.send(answers).lookups
                self.rounds.append([str(lookup) for lookup in lookups])
                answers = tuple(self.answer(lookup) for lookup in lookups)
        except StopIteration as end:
            route: Route = end.value
            return route

    def hops(self, uri: str, reach: Reach = PLAIN) -> list[str]:
        return [text(hop) for hop in self.route(uri, reach).hops(random.random)]


def text(hop: Hop) -> str:
    return f"{hop.transport.lower()}:{hop.host}:{hop.port}"


ALL = (ADDRESSES, UDP_SRV, TCP_SRV, TLS_SRV)


@pytest.mark.parametrize(
    ("uri", "zone", "reach", "hops"),
    [
        pytest.param(
            "sip:ims.test",
            [*ALL, {"NAPTR ims.test": [D2U, D2T]}],
            PLAIN,
            ["tcp:192.0.2.2:5080"],
            id="SP-07 3263-4.1 the NAPTR of the lowest order",
        ),
        pytest.param(
            "sip:ims.test",
            [*ALL, {"NAPTR ims.test": [D2U, D2T._replace(order=20, preference=20)]}],
            PLAIN,
            ["udp:192.0.2.1:5070", "tcp:192.0.2.2:5080"],
            id="SP-07 3403-4.1 within an order by preference",
        ),
        pytest.param(
            "sip:ims.test",
            [*ALL, {"NAPTR ims.test": [D2U, SECURE_D2T]}],
            PLAIN,
            ["udp:192.0.2.1:5070"],
            id="SP-07 3263-4.1 SIPS+D2T is skipped without TLS",
        ),
        pytest.param(
            "sip:ims.test",
            [*ALL, {"NAPTR ims.test": [D2U, SECURE_D2T]}],
            WITH_TLS,
            ["tls:192.0.2.2:5081"],
            id="SP-07 3263-4.1 SIPS+D2T is used for sip too where there is TLS",
        ),
        pytest.param(
            "sips:ims.test",
            [*ALL, {"NAPTR ims.test": [D2U, D2T, SECURE_D2T]}],
            WITH_TLS,
            ["tls:192.0.2.2:5081"],
            id="SP-07 3263-4.1 sips takes nothing but SIPS",
        ),
        pytest.param(
            "sip:ims.test",
            [ADDRESSES, UDP_SRV, {"NAPTR ims.test": [D2U, D2T]}],
            PLAIN,
            ["udp:192.0.2.1:5070"],
            id="3403-4.1 the next order counts if the one before leads to nothing",
        ),
        pytest.param(
            "sip:ims.test",
            [
                *ALL,
                {
                    "NAPTR ims.test": [
                        naptr(1, 1, "SIP+D2T", "", "u", "!^.*$!sip:x@y!"),
                        naptr(1, 2, "SIP+D2T", "b.test", "a"),
                        naptr(1, 3, "SIP+D2T", "_sip._tcp.ims.test", "s", "!x!y!"),
                        naptr(1, 4, "SIP+D2T", ""),
                        naptr(1, 5, "SIP+D2S", "_sip._sctp.ims.test"),
                        naptr(1, 6, "E2U+sip", "_sip._tcp.ims.test"),
                        naptr(9, 9, "sip+d2u", "_SIP._UDP.ims.test", "S"),
                    ]
                },
            ],
            PLAIN,
            ["udp:192.0.2.1:5070"],
            id="3263-4.1 other flags, services and regular expressions are skipped",
        ),
        pytest.param(
            "sip:ims.test",
            ALL,
            PLAIN,
            ["udp:192.0.2.1:5070", "tcp:192.0.2.2:5080"],
            id="SP-07 3263-4.1 without NAPTR the SRV of each transport",
        ),
        pytest.param(
            "sips:ims.test",
            ALL,
            WITH_TLS,
            ["tls:192.0.2.2:5081"],
            id="3263-4.1 without NAPTR, sips asks for _sips._tcp",
        ),
        pytest.param("sip:ims.test", [ADDRESSES], PLAIN, ["udp:192.0.2.9:5060"], id="SP-07 3263-4.2 no SRV: addresses"),
        pytest.param("sips:ims.test", [ADDRESSES], WITH_TLS, ["tls:192.0.2.9:5061"], id="3263-4.2 no SRV, sips: 5061"),
        pytest.param(
            "sip:ims.test",
            [ADDRESSES, {"NAPTR ims.test": [D2T]}],
            PLAIN,
            ["tcp:192.0.2.9:5060"],
            id="3263-4.2 no SRV, but NAPTR: its transport",
        ),
        pytest.param(
            "sip:ims.test;transport=tcp", ALL, PLAIN, ["tcp:192.0.2.2:5080"], id="SP-07 3263-4.1 transport skips NAPTR"
        ),
        pytest.param(
            "sip:ims.test;transport=tls", ALL, WITH_TLS, ["tls:192.0.2.2:5081"], id="3263-4.1 the old transport=tls"
        ),
        pytest.param(
            "sips:ims.test;transport=tcp", ALL, WITH_TLS, ["tls:192.0.2.2:5081"], id="3261-26.2.2 sips over tcp is TLS"
        ),
        pytest.param("sip:ims.test:5099", ALL, PLAIN, ["udp:192.0.2.9:5099"], id="SP-07 3263-4.2 port skips SRV"),
        pytest.param(
            "sip:ims.test:5099;transport=tcp", ALL, PLAIN, ["tcp:192.0.2.9:5099"], id="3263-4.2 port and transport"
        ),
        pytest.param("sips:ims.test:5099", ALL, WITH_TLS, ["tls:192.0.2.9:5099"], id="3263-4.1 sips and port: TLS"),
        pytest.param(
            "sip:x.test;maddr=ims.test", [ADDRESSES], PLAIN, ["udp:192.0.2.9:5060"], id="3263-4 maddr is the TARGET"
        ),
        pytest.param("sip:IMS.Test.", [ADDRESSES], PLAIN, ["udp:192.0.2.9:5060"], id="1035-2.3.3 names in any case"),
        pytest.param(
            "sip:ims.test",
            ALL,
            Reach(frozenset({TCP}), frozenset({4})),
            ["tcp:192.0.2.2:5080"],
            id="3263-4.1 only transports that we listen on",
        ),
        pytest.param(
            "sip:ims.test",
            [ADDRESSES, {"SRV _sip._udp.ims.test": [Srv(20, 0, 1, "a.test"), Srv(10, 0, 2, "B.test")]}],
            PLAIN,
            ["udp:192.0.2.2:2", "udp:192.0.2.1:1"],
            id="SP-07 2782 the lowest priority first",
        ),
        pytest.param(
            "sip:ims.test",
            [ADDRESSES, {"SRV _sip._udp.ims.test": [Srv(10, 0, 1, "gone.test"), Srv(20, 0, 2, "b.test")]}],
            PLAIN,
            ["udp:192.0.2.2:2"],
            id="2782 a server without address is left out",
        ),
        pytest.param(
            "sip:ims.test",
            [ADDRESSES, TCP_SRV, {"SRV _sip._udp.ims.test": Answer(reason="SERVFAIL from ns", is_failure=True)}],
            PLAIN,
            ["tcp:192.0.2.2:5080"],
            id="one transport's failure does not hide the other",
        ),
        pytest.param(
            "sip:ims.test",
            [{"SRV _sip._udp.ims.test": ["192.0.2.3"], "A ims.test": [D2U, "192.0.2.9", "0.0.0.0", "224.0.0.1"]}],
            PLAIN,
            ["udp:192.0.2.9:5060"],
            id="what is of another type, unspecified or multicast is ignored",
        ),
    ],
)
def test_locate(uri: str, zone: Sequence[dict[str, Any]], reach: Reach, hops: list[str]) -> None:
    assert Zone(*zone).hops(uri, reach) == hops


@pytest.mark.parametrize(
    ("uri", "zone", "reason"),
    [
        pytest.param("sip:ims.test", [], "A ims.test: no such name, says ns", id="no such name"),
        pytest.param(
            "sip:ims.test",
            [ADDRESSES, {"NAPTR ims.test": Answer(reason="no answer from ns", is_failure=True)}],
            "NAPTR ims.test: no answer from ns",
            id="NAPTR fails: what else there is may not be what was meant",
        ),
        pytest.param(
            "sip:ims.test",
            [ADDRESSES, {"SRV _sip._tcp.ims.test": Answer(reason="SERVFAIL from ns", is_failure=True)}],
            "SRV _sip._tcp.ims.test: SERVFAIL from ns",
            id="SRV fails",
        ),
        pytest.param(
            "sip:ims.test;transport=tcp",
            [ADDRESSES, {"SRV _sip._tcp.ims.test": [Srv(0, 0, 1, "")]}],
            "SRV _sip._tcp.ims.test: the service is not offered",
            id="2782 a target of . says no",
        ),
        pytest.param(
            "sip:ims.test",
            [{"SRV _sip._udp.ims.test": [Srv(0, 0, 1, "gone.test")], "A ims.test": ["192.0.2.9"]}],
            "A gone.test: no such name, says ns",
            id="2782 the server has no address",
        ),
        pytest.param(
            "sip:ims.test:5060", [{"A ims.test": ["0.0.0.0"]}], "A ims.test: no usable address", id="unusable"
        ),
        pytest.param("sip:a..test", [], "not a host name", id="an empty label"),
        pytest.param("sip:" + ".".join(["a" * 63] * 4), [], "not a host name", id="255 characters"),
        pytest.param("sip:x.test;maddr=a/b", [], "not a host name", id="maddr that is no host"),
        pytest.param("sip:ims.test;transport=sctp", [], "transport sctp is not supported", id="SCTP"),
        pytest.param("sips:ims.test", [], "no listener for TLS", id="sips without TLS"),
        pytest.param("sips:ims.test;transport=udp", [], "transport udp is not supported for sips", id="sips over UDP"),
    ],
)
def test_why_there_is_no_way(uri: str, zone: Sequence[dict[str, Any]], reason: str) -> None:
    with pytest.raises(PeerUnavailable) as fault:
        Zone(*zone).hops(uri)
    assert fault.value.reason == reason
    assert fault.value.peer == Destination.of(SipUri.parse(uri)).host[:MAX_SHOWN]


def test_questions_are_asked_together() -> None:
    zone = Zone(*ALL)
    zone.hops("sip:ims.test", DUAL_STACK)
    assert zone.rounds == [
        ["NAPTR ims.test"],
        ["SRV _sip._udp.ims.test", "SRV _sip._tcp.ims.test"],
        ["AAAA a.test", "A a.test", "AAAA b.test", "A b.test"],
    ]


def test_addresses_in_the_order_of_rfc_6724() -> None:
    """7984 4.1: both families are asked, and the policy table decides."""
    found = {"AAAA ims.test": ["fd00::1", "2002:c000:201::1", "2001:db8::1"], "A ims.test": ["192.0.2.1", "192.0.2.2"]}
    hosts = [hop.host for hop in Zone(found).route("sip:ims.test:5060", DUAL_STACK).hops(random.random)]
    assert hosts == ["2001:db8::1", "192.0.2.1", "192.0.2.2", "2002:c000:201::1", "fd00::1"]


def test_long_answers_are_cut() -> None:
    names = [f"n{number}.test" for number in range(100)]
    zone = Zone(
        {"SRV _sip._udp.ims.test": [Srv(number, 0, 5060, name) for number, name in enumerate(names)]},
        {f"A {name}": [f"10.0.{number}.{host}" for host in range(1, 100)] for number, name in enumerate(names)},
    )
    hops = zone.hops("sip:ims.test")
    assert len(zone.rounds[-1]) == MAX_SERVERS
    assert len(hops) == MAX_SERVERS * MAX_ADDRESSES


# ---------------------------------------------------------------------- weights


def servers(*weights: int) -> list[Server]:
    return [Server(weight, (Hop(UDP, f"192.0.2.{number}", 5060),)) for number, weight in enumerate(weights)]


def firsts(route: Route, count: int) -> list[float]:
    """How often each server is the first, in percent."""
    draws = [number / 10_000 for number in range(10_000)]
    random.Random(7).shuffle(draws)  # noqa: S311 - the same in every run
    counted = Counter(route.hops(iter(draws[start:]).__next__)[0].host for start in range(9_000))
    return [counted[f"192.0.2.{number}"] / 90 for number in range(count)]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        pytest.param((60, 20, 20), (60, 20, 20), id="SP-07 2782 load by weight"),
        pytest.param((1, 1), (50, 50), id="2782 equal weights"),
        pytest.param((0, 0, 0), (33, 33, 33), id="2782 no weights: anyone"),
        pytest.param((0, 99), (1, 99), id="2782 without weight: hardly ever"),
        pytest.param((50, 10, 10, 10, 10, 10), (50, 10, 10, 10, 10, 10), id="2782 more than orders are made for"),
    ],
)
def test_load_is_shared_by_weight(weights: Sequence[int], shares: Sequence[int]) -> None:
    assert firsts(Route([servers(*weights)]), len(weights)) == pytest.approx(shares, abs=2)


def test_each_priority_is_drawn_for_itself() -> None:
    route = Route([servers(1, 1), servers(0, 0, 5)[2:]])
    for _ in range(20):
        assert {hop.host for hop in route.hops(random.random)[:2]} == {"192.0.2.0", "192.0.2.1"}
        assert route.hops(random.random)[2].host == "192.0.2.2"


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_every_draw_has_every_server_once(weights: list[int], number: float) -> None:
    group = servers(*weights)
    hops = Route([group]).hops(lambda: number)
    assert sorted(hops) == sorted(hop for server in group for hop in server.hops)
    assert sorted(draw_by_weight(group, lambda: number)) == sorted(group)


# ---------------------------------------------------------------------- without DNS


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("sip:h", "udp:192.0.2.1:5060"),
        ("sip:h:5070", "udp:192.0.2.1:5070"),
        ("sip:h;transport=TCP", "tcp:192.0.2.1:5060"),
        ("sips:h", "tls:192.0.2.1:5061"),
    ],
)
def test_fixed_route(uri: str, hop: str) -> None:
    """SP-07: numeric hosts and static names need no DNS (3263 4.1, 4.2)."""
    route = fixed_route(Destination.of(SipUri.parse(uri)), ["2001:db8::1", "192.0.2.1"], WITH_TLS)
    assert [text(found) for found in route.hops(random.random)] == [hop]


def test_certificate_is_for_the_name_that_was_asked_for() -> None:
    """5922 4: whatever name the SRV record leads to; for an address, it must be for that."""
    (by_dns,) = Zone(*ALL).route("sips:IMS.test", WITH_TLS).hops(random.random)
    assert by_dns == Hop(TLS, "192.0.2.2", 5081, "ims.test")
    for uri, name in (("sips:ims.test", "ims.test"), ("sips:192.0.2.1", "")):
        (static,) = fixed_route(Destination.of(SipUri.parse(uri)), ["192.0.2.1"], WITH_TLS).hops(random.random)
        assert static == Hop(TLS, "192.0.2.1", 5061, name)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%25eth0", None),
        ("192.0.2", None),
        ("ims.test", None),
    ],
)
def test_numeric(host: str, address: str | None) -> None:
    assert numeric(host) == address


@pytest.mark.parametrize(
    ("via", "destination"),
    [
        ("SIP/2.0/UDP P1.test.", Destination(False, "p1.test", None, "udp")),
        ("SIP/2.0/TLS p1.test:5071", Destination(True, "p1.test", 5071, "tls")),
        ("SIP/2.0/TCP p1.test;maddr=192.0.2.1", Destination(False, "192.0.2.1", None, "tcp")),
    ],
)
def test_destination_of_sent_by(via: str, destination: Destination) -> None:
    """3263 5: its transport is known, so that without a port SRV is asked."""
    assert Destination.of_sent_by(Via.parse(via)) == destination


def test_lookup_reads_as_a_question() -> None:
    assert str(Lookup("ims.test", RecordType.NAPTR)) == "NAPTR ims.test"
