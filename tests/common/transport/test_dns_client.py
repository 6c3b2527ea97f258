"""The DNS client against real servers, and against one that says what a test wants."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from opencscf.common.node.settings import DnsServerSettings, DnsSettings
from opencscf.common.sip.locate import Answer, Lookup, Naptr, RecordType, Srv
from opencscf.common.transport.dns_client import (
    FAILURE_TTL_S,
    MAX_NEGATIVE_TTL_S,
    MAX_TTL_S,
    MIN_TTL_S,
    Answered,
    DnsClient,
)

Address: TypeAlias = tuple[str, int]
Say: TypeAlias = Callable[[dns.message.Message], list[bytes]]

A_LOOKUP = Lookup("one.ims.test", RecordType.A)


def client(*servers: Address, timeout_s: float = 4.0) -> DnsClient:
    return DnsClient(DnsSettings(tuple(DnsServerSettings(*server) for server in servers), timeout_s))


def name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


@contextmanager
def silent() -> Iterator[Address]:
    """A server that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        yield udp.getsockname()


class Speaker(asyncio.DatagramProtocol):
    """A server that says what it is given."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.heard = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard += 1
        for answer in self.say(dns.message.from_wire(data)):
            self.transport.sendto(answer, addr)


@asynccontextmanager
async def speaking(say: Say) -> AsyncIterator[tuple[Address, Speaker]]:
    speaker = Speaker(say)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: speaker, ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname"), speaker
    finally:
        transport.close()


def answer(
    query: dns.message.Message, *records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR
) -> dns.message.Message:
    """Each record is such as "300 A 192.0.2.1", for the name that was asked."""
    response = dns.message.make_response(query)
    response.set_rcode(rcode)
    for record in records:
        ttl, type_, value = record.split(" ", 2)
        response.answer.append(dns.rrset.from_text(query.question[0].name, int(ttl), "IN", type_, value))
    return response


def scripted(*records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Say:
    return lambda query: [answer(query, *records, rcode=rcode).to_wire()]


@pytest.mark.parametrize(
    ("lookup", "records"),
    [
        pytest.param(A_LOOKUP, ("127.0.5.1",), id="A"),
        pytest.param(Lookup("one.ims.test", RecordType.AAAA), ("2001:db8::1",), id="AAAA"),
        pytest.param(Lookup("alias.ims.test", RecordType.A), ("127.0.5.1",), id="CNAME"),
        pytest.param(Lookup("_sip._tcp.ims.test", RecordType.SRV), (Srv(10, 1, 5090, "two.ims.test"),), id="SRV"),
        pytest.param(Lookup("_sip._tcp.closed.ims.test", RecordType.SRV), (Srv(0, 0, 1, ""),), id="2782 SRV of ."),
        pytest.param(
            Lookup("naptr.ims.test", RecordType.NAPTR),
            (Naptr(10, 20, "u", "E2U+sip", "!^.*$!sip:x@ims.test!", ""),),
            id="NAPTR",
        ),
    ],
)
def test_records(run: Any, dns_server: Any, lookup: Lookup, records: tuple[Any, ...]) -> None:
    assert run(client(dns_server.address).ask(lookup)) == Answered(Answer(records), 7.0)


def test_long_answer_comes_over_tcp(run: Any, dns_server: Any) -> None:
    answered = run(client(dns_server.address).ask(Lookup("_sip._udp.big.ims.test", RecordType.SRV)))
    assert len(answered.answer.records) == 60
    assert len(dns_server.questions()) == 2  # the first answer was cut


@pytest.mark.parametrize(
    ("lookup", "what"),
    [
        pytest.param(Lookup("none.ims.test", RecordType.A), "no such name", id="2308-2.1 NXDOMAIN"),
        pytest.param(Lookup("two.ims.test", RecordType.AAAA), "no such record", id="2308-2.2 NODATA"),
    ],
)
def test_what_does_not_exist(run: Any, dns_server: Any, lookup: Lookup, what: str) -> None:
    reason = f"{what}, says {name(dns_server.address)}"
    assert run(client(dns_server.address).ask(lookup)) == Answered(Answer(reason=reason), 7.0)


@pytest.mark.parametrize(
    ("say", "answered"),
    [
        pytest.param(scripted("0 A 192.0.2.1"), Answered(Answer(("192.0.2.1",)), MIN_TTL_S), id="no time to live"),
        pytest.param(
            scripted("9999999 A 192.0.2.1"), Answered(Answer(("192.0.2.1",)), MAX_TTL_S), id="too long a time"
        ),
        pytest.param(
            scripted(), Answered(Answer(reason="no such record, says {}"), FAILURE_TTL_S), id="2308-5 nothing, no SOA"
        ),
        pytest.param(
            scripted(rcode=dns.rcode.SERVFAIL),
            Answered(Answer(reason="SERVFAIL from {}", is_failure=True), FAILURE_TTL_S),
            id="SERVFAIL",
        ),
        pytest.param(
            scripted("60 A 192.0.2.1", rcode=dns.rcode.NXDOMAIN),
            Answered(
                Answer(reason="The resolution includes an answer for NXDOMAIN. ({})", is_failure=True), FAILURE_TTL_S
            ),
            id="an answer to NXDOMAIN",
        ),
    ],
)
def test_odd_answers(run: Any, say: Say, answered: Answered) -> None:
    async def scenario() -> None:
        async with speaking(say) as (address, _):
            found = await client(address).ask(A_LOOKUP)
            assert found.ttl_s == answered.ttl_s
            assert found.answer.records == answered.answer.records
            assert found.answer.is_failure == answered.answer.is_failure
            if "answer for NXDOMAIN" not in answered.answer.reason:
                assert found.answer.reason == answered.answer.reason.format(name(address))

    run(scenario())


def test_negative_answers_live_a_minute_at_most(run: Any) -> None:
    def say(query: dns.message.Message) -> list[bytes]:
        response = answer(query, rcode=dns.rcode.NXDOMAIN)
        response.authority.append(
            dns.rrset.from_text("test.", 9999, "IN", "SOA", "ns.test. hostmaster.test. 1 9999 9999 9999 9999")
        )
        return [response.to_wire()]

    async def scenario() -> None:
        async with speaking(say) as (address, _):
            assert (await client(address).ask(A_LOOKUP)).ttl_s == MAX_NEGATIVE_TTL_S

    run(scenario())


def test_what_answers_another_question_is_not_heard(run: Any) -> None:
    """5452 9: garbage, a wrong id and a wrong name come first."""

    def say(query: dns.message.Message) -> list[bytes]:
        wrong_id = answer(query, "60 A 192.0.2.66")
        wrong_id.id ^= 1
        wrong_name = answer(dns.message.make_query("two.ims.test", "A", id=query.id), "60 A 192.0.2.66")
        return [b"", b"\0" * 5, wrong_id.to_wire(), wrong_name.to_wire(), answer(query, "60 A 192.0.2.1").to_wire()]

    async def scenario() -> None:
        async with speaking(say) as (address, _):
            assert await client(address).ask(A_LOOKUP) == Answered(Answer(("192.0.2.1",)), 60.0)

    run(scenario())


def test_the_next_server_is_asked_and_stays_the_first(run: Any, dns_server: Any) -> None:
    async def scenario() -> None:
        async with speaking(scripted(rcode=dns.rcode.SERVFAIL)) as (broken, speaker):
            asking = client(broken, dns_server.address)
            for _ in range(2):
                assert (await asking.ask(A_LOOKUP)).answer.records == ("127.0.5.1",)
            assert speaker.heard == 1

    run(scenario())


def test_why_no_server_answers(run: Any) -> None:
    """The reason names each server."""

    async def scenario() -> None:
        async with speaking(scripted(rcode=dns.rcode.REFUSED)) as (broken, _):
            with silent() as mute:
                answered = await client(mute, broken, timeout_s=0.4).ask(A_LOOKUP)
            reason = f"no answer from {name(mute)} in 0.2 s, REFUSED from {name(broken)}"
            assert answered == Answered(Answer(reason=reason, is_failure=True), FAILURE_TTL_S)

    run(scenario())


def test_an_only_server_is_asked_twice(run: Any) -> None:
    heard: list[dns.message.Message] = []

    def say(query: dns.message.Message) -> list[bytes]:
        heard.append(query)
        return [] if len(heard) == 1 else [answer(query, "60 A 192.0.2.1").to_wire()]

    async def scenario() -> None:
        async with speaking(say) as (address, _):
            assert (await client(address, timeout_s=0.6).ask(A_LOOKUP)).answer.records == ("192.0.2.1",)

    run(scenario())


def test_host_that_cannot_be_reached(run: Any) -> None:
    answered = run(client(("255.255.255.255", 53)).ask(A_LOOKUP))
    assert answered.answer == Answer(reason="Permission denied (255.255.255.255)", is_failure=True)


def test_name_that_dns_does_not_know(run: Any) -> None:
    answered = run(client(("127.0.0.1", 9)).ask(Lookup("a..b", RecordType.A)))
    assert answered.answer == Answer(reason="not a host name", is_failure=True)


def test_servers_of_the_system(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = dns.resolver.Resolver.read_resolv_conf
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", lambda self, _: read(self, str(file)))
    file.write_text("search ims.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    assert client()._servers == [("192.0.2.53", 53), ("2001:db8::53", 53)]
    file.unlink()
    answered = run(client().ask(A_LOOKUP))
    assert answered.answer.reason == "no DNS server is known: neither [dns] nor /etc/resolv.conf names one"
