"""The resolver, and what it remembers, against a real DNS server."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from opencscf.common.errors import PeerUnavailable
from opencscf.common.node.settings import DnsServerSettings, DnsSettings
from opencscf.common.sip.flow import Hop, Transport
from opencscf.common.sip.headers import Via
from opencscf.common.sip.uri import SipUri
from opencscf.common.transport import dns
from opencscf.common.transport.dns import Found, Resolver

HOSTS = {
    "SCSCF.ims.test": ["127.0.1.12"],
    "six.ims.test": ["2001:db8::1"],
    "pool.ims.test": ["127.0.1.14", "2001:db8::1", "127.0.1.13"],
}
UDP, TCP = Transport.UDP, Transport.TCP
ONE, TWO = Hop(UDP, "127.0.5.1", 5070), Hop(UDP, "127.0.5.2", 5080)


class World:
    """A resolver, its clock, and the server it asks."""

    def __init__(self, *servers: Any) -> None:
        self.seconds = 1000.0
        self.resolver = Resolver(
            asyncio.get_running_loop(),
            HOSTS,
            ip_versions=(4,),
            settings=DnsSettings(tuple(DnsServerSettings(*server.address) for server in servers)),
            now=lambda: self.seconds,
        )

    def ask(self, uri: str) -> "asyncio.Future[Found]":
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.resolver.lookup(SipUri.parse(uri), answer.set_result)
        return answer

    async def hops(self, uri: str) -> Sequence[Hop]:
        found = await self.ask(uri)
        assert not isinstance(found, PeerUnavailable), found
        return found

    async def reason(self, uri: str) -> str:
        found = await self.ask(uri)
        assert isinstance(found, PeerUnavailable)
        return found.reason


def at_once(uri: str, ip_versions: tuple[int, ...] = (4, 6)) -> Any:
    async def scenario() -> Any:
        found: list[Any] = []
        resolver = Resolver(asyncio.get_running_loop(), HOSTS, ip_versions=ip_versions)
        for _ in range(2):  # the second time it is remembered
            resolver.lookup(SipUri.parse(uri), found.append)
        assert str(found[0]) == str(found[1])
        return found[0]

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        pytest.param("sip:127.0.1.10", Hop(UDP, "127.0.1.10", 5060), id="3263-4.1 address, UDP by default"),
        pytest.param("sip:127.0.1.10:5070", Hop(UDP, "127.0.1.10", 5070), id="IC-02 3263-4.2 explicit port"),
        pytest.param(
            "sip:127.0.1.10;transport=TCP", Hop(TCP, "127.0.1.10", 5060), id="IC-02 3263-4.1 explicit transport"
        ),
        pytest.param("sip:[2001:DB8:0::1]", Hop(UDP, "2001:db8::1", 5060), id="3263-4.1 IPv6"),
        pytest.param("sip:scscf.IMS.test.", Hop(UDP, "127.0.1.12", 5060), id="static host in any case"),
        pytest.param("sip:a@x.test;maddr=127.0.1.9", Hop(UDP, "127.0.1.9", 5060), id="3261-16.6 maddr"),
        pytest.param("sip:127.0.1.9;x=" + "x" * 300, Hop(UDP, "127.0.1.9", 5060), id="a long URI is not kept"),
    ],
)
def test_what_is_known_is_answered_at_once(uri: str, hop: Hop) -> None:
    assert at_once(uri) == (hop,)


def test_localhost_needs_no_dns() -> None:
    """6761 6.3."""
    assert at_once("sip:localhost") == (Hop(UDP, "127.0.0.1", 5060), Hop(UDP, "::1", 5060))


def test_static_host_may_have_several_addresses() -> None:
    first, last = Hop(UDP, "127.0.1.14", 5060), Hop(UDP, "127.0.1.13", 5060)
    assert at_once("sip:pool.ims.test", (4,)) == (first, last)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sips:127.0.1.10", "no listener for TLS"),
        ("sip:127.0.1.10;transport=sctp", "transport sctp is not supported"),
        ("sip:six.ims.test", "no listener of its IP version"),
        ("sip:a..b", "not a host name"),
        ("sip:" + "a" * 8000, "not a host name"),
        ("sip:a.test;transport=" + "x" * 8000, f"transport {'x' * 64} is not supported"),
    ],
)
def test_what_cannot_be_reached_is_told_at_once(uri: str, reason: str) -> None:
    found = at_once(uri, (4,))
    assert isinstance(found, PeerUnavailable)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("uri", "hops"),
    [
        pytest.param("sip:ims.test", (ONE, TWO), id="SP-07 3263-4.1 NAPTR, SRV by priority, A"),
        pytest.param("sip:ims.test;transport=tcp", (Hop(TCP, "127.0.5.2", 5090),), id="SP-07 3263-4.1 SRV, A"),
        pytest.param("sip:alias.ims.test:5061", (Hop(UDP, "127.0.5.1", 5061),), id="SP-07 3263-4.2 port: A, by CNAME"),
        pytest.param("sip:two.ims.test", (Hop(UDP, "127.0.5.2", 5060),), id="SP-07 3263-4.2 nothing but A"),
    ],
)
def test_hops_come_from_dns(run: Any, dns_server: Any, uri: str, hops: Sequence[Hop]) -> None:
    async def scenario() -> None:
        world = World(dns_server)
        assert await world.hops(uri) == hops
        assert world.ask(uri).done()
        await world.resolver.close()

    run(scenario())


def test_response_goes_by_its_via(run: Any, dns_server: Any) -> None:
    """3263 5: SRV of the Via's transport, else addresses."""

    async def scenario() -> None:
        world = World(dns_server)
        for via, hop in (
            ("TCP ims.test", Hop(TCP, "127.0.5.2", 5090)),
            ("UDP two.ims.test:7", Hop(UDP, "127.0.5.2", 7)),
        ):
            found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
            world.resolver.lookup_sent_by(Via.parse(f"SIP/2.0/{via}"), found.set_result)
            assert await found == (hop,)
        assert "NAPTR ims.test" not in dns_server.questions()
        await world.resolver.close()

    run(scenario())


def test_one_question_for_all_who_wait(run: Any, dns_server: Any) -> None:
    async def scenario() -> None:
        world = World(dns_server)
        answers = [world.ask(uri) for uri in ("sip:a@ims.test", "sip:b@IMS.test", "sip:ims.test;transport=udp")]
        assert not any(answer.done() for answer in answers)
        assert await asyncio.gather(*answers) == [(ONE, TWO)] * 3
        asked = dns_server.questions()
        assert sorted(asked) == sorted(set(asked))
        assert set(asked) == {"NAPTR ims.test", "SRV _sip._udp.ims.test", "A one.ims.test", "A two.ims.test"}
        await world.resolver.close()

    run(scenario())


@pytest.mark.parametrize("uri", ["sip:two.ims.test:5060", "sip:none.ims.test:5060"])
def test_answers_are_good_for_as_long_as_dns_says(run: Any, dns_server: Any, uri: str) -> None:
    """SP-07, 2308 5: the server's 7 seconds, also for a name that does not exist (the minimum of its SOA)."""

    async def scenario() -> None:
        world = World(dns_server)
        await world.ask(uri)
        world.seconds += 6.9
        assert world.ask(uri).done()
        world.seconds += 0.2
        assert not world.ask(uri).done()
        assert len(dns_server.questions()) == 1
        await world.ask(uri)
        assert len(dns_server.questions()) == 2
        await world.resolver.close()

    run(scenario())


def test_old_answers_are_used_while_no_server_answers(run: Any, dns_server: Any) -> None:
    """8767 4: for a day."""

    async def scenario() -> None:
        world = World(dns_server)
        before = await world.hops("sip:two.ims.test:5060")
        dns_server.stop()
        world.resolver._client._timeout_s = 0.1
        world.seconds += 3600
        assert await world.hops("sip:two.ims.test:5060") == before
        assert world.ask("sip:two.ims.test:5060").done()
        world.seconds += dns.STALE_TTL_S
        assert not world.ask("sip:two.ims.test:5060").done()
        world.seconds += dns.MAX_STALE_S
        assert "no answer from 127.0.0.1" in await world.reason("sip:two.ims.test:5060;x")
        await world.resolver.close()

    run(scenario())


def test_why_a_name_leads_nowhere(run: Any, dns_server: Any) -> None:
    """PR-03: the reason names the record and the server."""

    async def scenario() -> None:
        world, server = World(dns_server), f"127.0.0.1:{dns_server.address[1]}"
        assert await world.reason("sip:none.ims.test") == f"A none.ims.test: no such name, says {server}"
        assert await world.reason("sip:refused.test") == f"NAPTR refused.test: REFUSED from {server}"
        no_service = "SRV _sip._tcp.closed.ims.test: the service is not offered"
        assert await world.reason("sip:closed.ims.test;transport=tcp") == no_service
        assert await world.reason("sip:a..b") == "not a host name"
        assert world.ask("sip:none.ims.test").done()
        await world.resolver.close()

    run(scenario())


def test_each_gets_a_fault_of_its_own(run: Any) -> None:
    """Raising one leaves a traceback in it, which would grow."""

    async def scenario() -> None:
        world = World()
        faults = [await world.ask("sip:a..b") for _ in range(3)]
        assert len({id(fault) for fault in faults}) == 3
        await world.resolver.close()

    run(scenario())


def test_hop_that_failed_is_tried_last_for_a_while(run: Any, dns_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SP-07, 3263 4.3."""
    monkeypatch.setattr(dns, "MAX_AVOIDED", 2)

    async def scenario() -> None:
        world = World(dns_server)
        assert await world.hops("sip:ims.test") == (ONE, TWO)
        world.resolver.failed(ONE)
        assert await world.hops("sip:ims.test") == (TWO, ONE)
        assert await world.hops("sip:127.0.5.1:5070") == (ONE,)
        world.seconds += 5
        world.resolver.failed(TWO)
        assert await world.hops("sip:ims.test") == (ONE, TWO), "both failed: as if none had"
        world.seconds += dns.AVOIDED_S - 5
        assert await world.hops("sip:ims.test") == (ONE, TWO)
        world.resolver.failed(ONE)
        for port in (1, 2):
            world.resolver.failed(Hop(UDP, "127.0.5.9", port))
        assert await world.hops("sip:ims.test") == (ONE, TWO), "forgotten for others"
        await world.resolver.close()

    run(scenario())


def test_what_is_kept_is_limited(run: Any, dns_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MAX_KEPT", 2)

    async def scenario() -> None:
        world = World(dns_server)
        for number in range(1, 5):
            await world.hops(f"sip:big{number}.ims.test:5060")
            await world.hops(f"sip:big{number}.ims.test:5060")
            await world.hops(f"sip:127.0.0.{number}")
        assert len(world.resolver._routes) == len(world.resolver._answers) == len(world.resolver._known) == 2
        assert world.ask("sip:big4.ims.test:5060").done()
        await world.resolver.close()

    run(scenario())


def test_lookups_at_the_same_time_are_limited(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MAX_PENDING", 1)
    monkeypatch.setattr(dns, "MAX_WAITING", 2)

    async def scenario() -> None:
        world = World()
        waiting = [world.ask("sip:one.invalid") for _ in range(2)]
        assert await world.reason("sip:one.invalid") == "too many requests wait for DNS"
        assert await world.reason("sip:two.invalid") == "too many names are being looked up"
        assert not any(answer.done() for answer in waiting)
        await world.resolver.close()
        assert not any(answer.done() for answer in waiting)

    run(scenario())


def test_fault_of_ours_is_told_and_keeps_nobody_waiting(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world, faults = World(), []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
        monkeypatch.setattr(world.resolver._client, "_servers", math.nan)  # of no use
        assert await world.reason("sip:one.invalid") == "the lookup ended early"
        assert [type(fault) for fault in faults] == [TypeError]
        await world.resolver.close()

    run(scenario())
