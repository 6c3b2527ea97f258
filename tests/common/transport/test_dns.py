import asyncio
from typing import Any

import pytest

from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip.flow import Hop, Transport
from opencscf.common.sip.uri import SipUri
from opencscf.common.transport import dns
from opencscf.common.transport.dns import Resolver

HOSTS = {"SCSCF.ims.test": "127.0.1.12", "six.ims.test": "2001:db8::1", "ghost.ims.test": "nowhere.invalid"}


def at_once(uri: str, ip_versions: tuple[int, ...] = (4, 6)) -> Any:
    async def scenario() -> Any:
        found: list[Any] = []
        Resolver(asyncio.get_running_loop(), HOSTS, ip_versions=ip_versions).lookup(SipUri.parse(uri), found.append)
        return found[0]

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        pytest.param("sip:127.0.1.10", Hop(Transport.UDP, "127.0.1.10", 5060), id="3263-4.1 address, UDP by default"),
        pytest.param("sip:127.0.1.10:5070", Hop(Transport.UDP, "127.0.1.10", 5070), id="IC-02 3263-4.2 explicit port"),
        pytest.param(
            "sip:127.0.1.10;transport=TCP",
            Hop(Transport.TCP, "127.0.1.10", 5060),
            id="IC-02 3263-4.1 explicit transport",
        ),
        pytest.param("sip:[2001:db8::1]", Hop(Transport.UDP, "2001:db8::1", 5060), id="3263-4.1 IPv6"),
        pytest.param("sip:scscf.IMS.test.", Hop(Transport.UDP, "127.0.1.12", 5060), id="static host in any case"),
        pytest.param("sip:a@x.test;maddr=127.0.1.9", Hop(Transport.UDP, "127.0.1.9", 5060), id="3261-16.6 maddr"),
    ],
)
def test_what_is_known_is_answered_at_once(uri: str, hop: Hop) -> None:
    assert at_once(uri) == (hop,)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sips:127.0.1.10", "TLS is not supported"),
        ("sip:127.0.1.10;transport=sctp", "transport sctp is not supported"),
        ("sip:six.ims.test", "no listener of its IP version"),
    ],
)
def test_what_cannot_be_reached_is_told_at_once(uri: str, reason: str) -> None:
    found = at_once(uri, (4,))
    assert isinstance(found, PeerUnavailable)
    assert found.reason == reason


def ask(resolver: Resolver, uri: str) -> "asyncio.Future[Any]":
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    resolver.lookup(SipUri.parse(uri), answer.set_result)
    return answer


def test_other_names_are_looked_up_once_and_kept(run: Any) -> None:
    async def scenario() -> None:
        resolver = Resolver(asyncio.get_running_loop(), {}, ip_versions=(4,))
        answers = [ask(resolver, uri) for uri in ("sip:localhost", "sip:LOCALHOST:5070;transport=tcp")]
        assert not any(answer.done() for answer in answers)
        assert await answers[0] == (Hop(Transport.UDP, "127.0.0.1", 5060),)
        assert await answers[1] == (Hop(Transport.TCP, "127.0.0.1", 5070),)
        assert ask(resolver, "sip:localhost").done()
        await resolver.close()

    run(scenario())


@pytest.mark.parametrize("name", ["nothing.invalid", "a" * 63 + "." + "b" * 64])
def test_a_name_that_does_not_exist_is_unavailable(run: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "TIMEOUT_S", 1.0)

    async def scenario() -> None:
        resolver = Resolver(asyncio.get_running_loop(), {})
        found = await ask(resolver, f"sip:{name}")
        assert isinstance(found, PeerUnavailable)
        assert found.peer == name
        assert ask(resolver, f"sip:{name}").done()
        await resolver.close()

    run(scenario())


def test_lookups_at_the_same_time_are_limited(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MAX_PENDING", 1)

    async def scenario() -> None:
        resolver = Resolver(asyncio.get_running_loop(), {})
        ask(resolver, "sip:one.invalid")
        found = await ask(resolver, "sip:two.invalid")
        assert found.reason == "too many names are being looked up"
        await resolver.close()

    run(scenario())
