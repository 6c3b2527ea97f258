"""Shell: asks DNS servers, with dnspython's messages and sockets (RFC 1035, RFC 2308, RFC 6891)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.resolver
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from opencscf.common.sip.locate import Answer, Lookup, Naptr, Record, Srv, numeric
from opencscf.common.sip.uri import with_brackets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dns.rdata import Rdata
    from dns.rrset import RRset

    from opencscf.common.node.settings import DnsSettings

MIN_TTL_S: Final = 1.0  # a record that lives shorter is asked for once a second all the same
MAX_TTL_S: Final = 86_400.0
MAX_NEGATIVE_TTL_S: Final = 60.0  # a name that has just been made should work soon
FAILURE_TTL_S: Final = 5.0  # RFC 9520 3.2
DNS_PORT: Final = 53
UDP_PAYLOAD: Final = 1232  # bytes that pass everywhere in one packet


class Answered(NamedTuple):
    """An answer, and for how long it is good."""

    answer: Answer
    ttl_s: float


class DnsClient:
    """Asks one server after the other until one knows; first the one that knew last."""

    def __init__(self, settings: DnsSettings) -> None:
        """Take the servers of the settings, else those of /etc/resolv.conf as it is now."""
        self._timeout_s = settings.timeout_s
        self._servers = [(server.address, server.port) for server in settings.servers] or _system_servers()

    async def ask(self, lookup: Lookup) -> Answered:
        """Return what the servers say; that none of them says anything is an answer too."""
        reasons: dict[str, None] = {}  # each once, in their order
        try:
            query = dns.message.make_query(
                dns.name.from_text(lookup.name), lookup.type.value, use_edns=0, payload=UDP_PAYLOAD
            )
        except dns.exception.DNSException:
            return _failure("not a host name")
        if not self._servers:
            return _failure("no DNS server is known: neither [dns] nor /etc/resolv.conf names one")
        attempts = (self._servers * 2)[: max(2, len(self._servers))]  # a datagram to an only server may get lost
        timeout_s = self._timeout_s / len(attempts)
        for server in attempts:
            try:
                async with asyncio.timeout(timeout_s):
                    response = await _exchange(query, server, timeout_s)
            except (TimeoutError, dns.exception.Timeout):
                reasons[f"no answer from {_text(server)} in {timeout_s:g} s"] = None
            except (dns.exception.DNSException, OSError, EOFError) as error:
                reasons[f"{_why(error)} ({_text(server)})"] = None
            else:
                is_answer = response.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
                if is_answer and isinstance(response, dns.message.QueryMessage):
                    self._prefer(server)
                    return _answered(response, server)
                reasons[f"{dns.rcode.to_text(response.rcode())} from {_text(server)}"] = None
        return _failure(", ".join(reasons))

    def _prefer(self, server: tuple[str, int]) -> None:
        if self._servers[0] != server:
            self._servers.remove(server)
            self._servers.insert(0, server)


async def _exchange(query: dns.message.Message, server: tuple[str, int], timeout_s: float) -> dns.message.Message:
    """Ask over UDP, and over TCP what did not fit; what is no answer to this question is not heard (RFC 5452 9)."""
    response, _ = await dns.asyncquery.udp_with_fallback(
        query, server[0], timeout=timeout_s, port=server[1], ignore_unexpected=True, ignore_errors=True
    )
    return response


def _answered(response: dns.message.QueryMessage, server: tuple[str, int]) -> Answered:
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException as error:  # an endless chain of CNAMEs, an answer to NXDOMAIN
        return _failure(f"{_why(error)} ({_text(server)})")
    records = tuple(_records(chain.answer))
    if records:
        return Answered(Answer(records), min(max(chain.minimum_ttl, MIN_TTL_S), MAX_TTL_S))
    what = "no such name" if response.rcode() == dns.rcode.NXDOMAIN else "no such record"
    has_soa = bool(response.authority)
    ttl_s = min(max(chain.minimum_ttl, MIN_TTL_S), MAX_NEGATIVE_TTL_S) if has_soa else FAILURE_TTL_S
    return Answered(Answer(reason=f"{what}, says {_text(server)}"), ttl_s)


def _records(found: RRset | None) -> Iterable[Record]:
    for record in found or ():
        known = _record(record)
        if known is not None:
            yield known


def _record(record: Rdata) -> Record | None:
    match record:
        case A() | AAAA():
            return numeric(record.address)
        case SRV():
            return Srv(record.priority, record.weight, record.port, _host(record.target))
        case NAPTR():
            flags, service, regexp = (text.decode("latin-1") for text in (record.flags, record.service, record.regexp))
            return Naptr(record.order, record.preference, flags, service, regexp, _host(record.replacement))
        case _:
            return None


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).removesuffix(".")


def _why(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else str(error)
    return text or type(error).__name__


def _failure(reason: str) -> Answered:
    return Answered(Answer(reason=reason, is_failure=True), FAILURE_TTL_S)


def _text(server: tuple[str, int]) -> str:
    host, port = server
    return host if port == DNS_PORT else f"{with_brackets(host)}:{port}"


def _system_servers() -> list[tuple[str, int]]:
    try:
        system = dns.resolver.Resolver()
    except dns.exception.DNSException:
        return []
    return [(server, system.port) for server in system.nameservers if isinstance(server, str)]
