"""Where a SIP URI leads: which questions to ask DNS, and how answers become hops (RFC 3263 4, RFC 2782, RFC 7984).

`locate` is a procedure that awaits `Lookups`; whoever drives it answers them from a cache or a server. It returns a
`Route`: servers by priority, from which each request gets its own order, since equal ones share the load by weight.

Not covered: NAPTR with the flag "a" or a regular expression, which RFC 3263 4.1 does not foresee; of RFC 6724, the
rules that need to know our source address; WebSocket, since nobody listens in a browser (RFC 7118 5).
"""

from __future__ import annotations

import enum
import ipaddress
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby, product
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from opencscf.common.actions import Question
from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip.flow import Hop, Transport

if TYPE_CHECKING:
    from opencscf.common.sip.flow import Flow
    from opencscf.common.sip.headers import Via
    from opencscf.common.sip.uri import SipUri

MAX_SERVICES: Final = 8  # NAPTR records of one name that are followed
MAX_SERVERS: Final = 16  # SRV records of one search that are followed
MAX_ADDRESSES: Final = 8  # of one server
MAX_SHOWN: Final = 64  # characters of what is no name
MAX_ORDERS: Final = 24  # of servers, that are made beforehand

DEFAULT_PORTS: Final = {Transport.UDP: 5060, Transport.TCP: 5060, Transport.TLS: 5061}  # RFC 3261 19.1.2
_NAMED: Final = {"udp": Transport.UDP, "tcp": Transport.TCP, "tls": Transport.TLS}
_NAMED_SECURE: Final = {"tcp": Transport.TLS, "tls": Transport.TLS}  # RFC 3261 26.2.2
_NAPTR_SERVICES: Final = {"SIP+D2U": Transport.UDP, "SIP+D2T": Transport.TCP, "SIPS+D2T": Transport.TLS}
_SRV_PREFIXES: Final = {Transport.UDP: "_sip._udp", Transport.TCP: "_sip._tcp", Transport.TLS: "_sips._tcp"}

_HOST_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
MAX_ADDRESS_CHARS: Final = 45  # ::ffff:255.255.255.255 in its longest form
_IPV4_PRECEDENCE: Final = 35
_IPV6_PRECEDENCE: Final = 40
_OTHER_PRECEDENCES: Final = (  # RFC 6724 2.1
    (ipaddress.IPv6Network("::1/128"), 50),
    (ipaddress.IPv6Network("2002::/16"), 30),
    (ipaddress.IPv6Network("2001::/32"), 5),
    (ipaddress.IPv6Network("fc00::/7"), 3),
)


# ---------------------------------------------------------------------- what is asked and answered


class RecordType(enum.StrEnum):
    """The types of DNS records that lead to a SIP server."""

    NAPTR = "NAPTR"
    SRV = "SRV"
    AAAA = "AAAA"
    A = "A"


class Lookup(NamedTuple):
    """One question to DNS."""

    name: str
    type: RecordType

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


class Naptr(NamedTuple):
    """A NAPTR record (RFC 3403 4.1)."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str


class Srv(NamedTuple):
    """A SRV record (RFC 2782); a target of "" says that there is no such service."""

    priority: int
    weight: int
    port: int
    target: str


Record: TypeAlias = Naptr | Srv | str  # an address is a text


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS said, or for want of records why there are none; a failure is one that may be over in a moment."""

    records: tuple[Record, ...] = ()
    reason: str = ""
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Lookups(Question[tuple[Answer, ...]]):
    """Questions that may be asked at the same time; the answers come in their order."""

    lookups: tuple[Lookup, ...]


# ---------------------------------------------------------------------- from where to where


class Destination(NamedTuple):
    """What a URI says about where it leads: `host` in lower case, or the maddr parameter that takes its place."""

    is_secure: bool
    host: str
    port: int | None
    transport: str | None

    @classmethod
    def of(cls, uri: SipUri) -> Destination:
        """Read it from a URI; ParseError if its maddr is malformed."""
        if uri.params:
            return cls(uri.scheme == "sips", _comparable(uri.maddr or uri.host), uri.port, uri.transport or None)
        return cls(uri.scheme == "sips", _comparable(uri.host), uri.port, None)

    @classmethod
    def of_sent_by(cls, via: Via) -> Destination:
        """Read from a Via where a response goes whose connection is lost (RFC 3263 5, RFC 3261 18.2.2)."""
        return cls(via.transport == Transport.TLS, _comparable(via.maddr or via.host), via.port, via.transport.lower())


@dataclass(frozen=True, slots=True)
class Reach:
    """What this node can send with."""

    transports: frozenset[Transport]
    ip_versions: frozenset[int]

    def covers(self, address: str) -> bool:
        """Tell whether an address is of an IP version that we listen on."""
        return (6 if ":" in address else 4) in self.ip_versions


class Server(NamedTuple):
    """What one SRV record, or a name without any, leads to."""

    weight: int
    hops: tuple[Hop, ...]


class Route:
    """The servers of a destination in groups of equal priority, the best group first.

    With few servers all orders are made beforehand, with how likely each is, so that a request costs one draw.
    """

    __slots__ = ("_bounds", "_groups", "_orders")

    def __init__(self, groups: Sequence[Sequence[Server]]) -> None:
        self._groups = groups
        self._bounds: list[float] = []
        self._orders: list[tuple[Hop, ...]] = []
        if math.prod([math.factorial(len(group)) for group in groups]) <= MAX_ORDERS:
            chances = []
            for combined in product(*[list(_weighted_orders(group)) for group in groups]):
                chances.append(math.prod([chance for chance, _ in combined]))
                self._orders.append(_unique(server for _, order in combined for server in order))
            self._bounds = list(accumulate(chances[:-1]))

    def hops(self, uniform: Callable[[], float]) -> tuple[Hop, ...]:
        """Return all hops in the order to try them for one request; `uniform` gives numbers in [0, 1)."""
        if len(self._orders) == 1:
            return self._orders[0]
        if self._orders:
            return self._orders[bisect_right(self._bounds, uniform())]
        return _unique(server for group in self._groups for server in draw_by_weight(group, uniform))


def draw_by_weight(servers: Sequence[Server], uniform: Callable[[], float]) -> list[Server]:
    """Draw servers of one priority by their weights, one after the other (RFC 2782, "Weight")."""
    left = list(servers)
    drawn = []
    while len(left) > 1:
        bounds = list(accumulate(_chances(left)[:-1]))
        drawn.append(left.pop(bisect_right(bounds, uniform())))
    return drawn + left


def _weighted_orders(servers: Sequence[Server]) -> Iterator[tuple[float, tuple[Server, ...]]]:
    """Return every order that such draws can have, with its probability."""
    if len(servers) == 1:
        yield 1.0, tuple(servers)
        return
    for index, chance in enumerate(_chances(servers)):
        for rest_chance, rest in _weighted_orders([*servers[:index], *servers[index + 1 :]]):
            yield chance * rest_chance, (servers[index], *rest)


def _chances(servers: Sequence[Server]) -> list[float]:
    """Return how likely each server is the first.

    RFC 2782 draws a number from 0 to the sum of weights, of which 0 goes to whoever is arranged first: one of those
    without weight, else anyone. Here they share it, so that equal weights get equal loads.
    """
    numbers = sum([server.weight for server in servers]) + 1
    lightest = [server for server in servers if not server.weight] or servers
    share = 1 / len(lightest)
    return [(server.weight + (share if server in lightest else 0)) / numbers for server in servers]


# ---------------------------------------------------------------------- the procedure


def check(destination: Destination, reach: Reach) -> None:
    """Raise `PeerUnavailable` if no answer of DNS could lead there."""
    if not is_host_name(destination.host):
        raise PeerUnavailable(destination.host[:MAX_SHOWN], "not a host name")
    _transport(destination, reach)


def fixed_route(destination: Destination, addresses: Sequence[str], reach: Reach) -> Route:
    """Return the way to a host whose addresses need no DNS (RFC 3263 4.1, 4.2), or raise `PeerUnavailable`."""
    usable = [address for address in addresses if reach.covers(address)]
    if not usable:
        raise PeerUnavailable(destination.host, "no listener of its IP version")
    name = "" if numeric(destination.host) else destination.host
    return _direct(name, _transport(destination, reach), usable, destination.port)


async def locate(destination: Destination, reach: Reach) -> Route:
    """Find the servers of a name (RFC 3263 4.1, 4.2), or raise `PeerUnavailable`."""
    host = destination.host
    check(destination, reach)
    transport = _transport(destination, reach)
    if destination.port is None:
        if destination.transport is not None:
            rules = [[_Service(transport, f"{_SRV_PREFIXES[transport]}.{host}")]]
        else:
            rules = await _rules(destination, reach)
            transport = rules[0][0].transport
        why: PeerUnavailable | None = None
        for services in rules:
            found = await _servers(host, services, reach)
            if isinstance(found, Route):
                return found
            why = why or found
        if why is not None:
            raise why
    (found_addresses,) = await _addresses([host], reach)
    if isinstance(found_addresses, _Reason):
        raise PeerUnavailable(host, found_addresses.text)
    return _direct(host, transport, found_addresses, destination.port)


class _Service(NamedTuple):
    """Where the SRV records of a transport are."""

    transport: Transport
    name: str


class _Reason(NamedTuple):
    """Why there is no address."""

    text: str
    is_failure: bool


def _transport(destination: Destination, reach: Reach) -> Transport:
    """Return the transport that the URI names, or the one it gets without NAPTR and SRV (RFC 3263 4.1)."""
    named, is_secure = destination.transport, destination.is_secure
    transport: Transport | None
    if named is not None:
        transport = _NAMED_SECURE.get(named) if is_secure else _NAMED.get(named)
    elif is_secure:
        transport = Transport.TLS
    else:
        transport = next((known for known in DEFAULT_PORTS if known in reach.transports), Transport.UDP)
    if transport is None:
        scheme = " for sips" if is_secure else ""
        raise PeerUnavailable(destination.host, f"transport {str(named)[:MAX_SHOWN]} is not supported{scheme}")
    if transport not in reach.transports:
        raise PeerUnavailable(destination.host, f"no listener for {transport}")
    return transport


async def _rules(destination: Destination, reach: Reach) -> list[list[_Service]]:
    """Return the services to search, by NAPTR order; without usable records those that we support (RFC 3263 4.1)."""
    lookup = Lookup(destination.host, RecordType.NAPTR)
    (answer,) = await Lookups((lookup,))
    if answer.is_failure:
        raise PeerUnavailable(destination.host, f"{lookup}: {answer.reason}")
    allowed = [
        transport
        for transport in DEFAULT_PORTS
        if transport in reach.transports and (transport is Transport.TLS or not destination.is_secure)
    ]
    usable = [
        (record, _Service(transport, record.replacement.lower()))
        for record in sorted([record for record in answer.records if isinstance(record, Naptr)])
        if (transport := _NAPTR_SERVICES.get(record.service.upper())) in allowed
        and transport is not None
        and record.flags.lower() == "s"
        and not record.regexp
        and is_host_name(record.replacement)
    ]
    if not usable:
        return [[_Service(transport, f"{_SRV_PREFIXES[transport]}.{destination.host}") for transport in allowed]]
    # A rule of a higher order counts only if those before it led to nothing (RFC 3403 4.1).
    orders = groupby(usable[:MAX_SERVICES], key=lambda pair: pair[0].order)
    return [[service for _, service in pairs] for _, pairs in orders]


async def _servers(host: str, services: Sequence[_Service], reach: Reach) -> Route | PeerUnavailable | None:
    """Return the servers that SRV records name (RFC 3263 4.2), why there are none, or None without SRV records."""
    lookups = tuple([Lookup(service.name, RecordType.SRV) for service in services])
    answers = await Lookups(lookups)
    found = [
        (index, record)
        for index, answer in enumerate(answers)
        for record in sorted([record for record in answer.records if isinstance(record, Srv)])
    ]
    offered = [(index, srv) for index, srv in found if is_host_name(srv.target) and srv.port][:MAX_SERVERS]
    targets = list(dict.fromkeys(srv.target.lower() for _, srv in offered))
    addresses = dict(zip(targets, await _addresses(targets, reach), strict=True))
    groups = []
    for (index, _), group in groupby(offered, key=lambda pair: (pair[0], pair[1].priority)):
        servers = []
        for _, srv in group:
            known = addresses[srv.target.lower()]
            if not isinstance(known, _Reason):
                hops = _hops(host, services[index].transport, known, srv.port)
                servers.append(Server(srv.weight, hops))
        if servers:
            groups.append(tuple(servers))
    if groups:
        return Route(groups)
    reasons = [
        _Reason(f"{lookup}: {answer.reason}", is_failure=True)
        for lookup, answer in zip(lookups, answers, strict=True)
        if answer.is_failure
    ]
    reasons += [reason for reason in addresses.values() if isinstance(reason, _Reason)]
    if found:
        reasons.append(_Reason(f"{lookups[found[0][0]]}: the service is not offered", is_failure=False))
    return PeerUnavailable(host, _worst(reasons).text) if reasons else None


async def _addresses(names: Sequence[str], reach: Reach) -> list[tuple[str, ...] | _Reason]:
    """Return the addresses of each name, of our IP versions, in the order of RFC 6724, or why there are none."""
    types = [type_ for type_, version in ((RecordType.AAAA, 6), (RecordType.A, 4)) if version in reach.ip_versions]
    lookups = tuple([Lookup(name, type_) for name in names for type_ in types])
    answers = await Lookups(lookups) if lookups else ()
    found: list[tuple[str, ...] | _Reason] = []
    for start in range(0, len(lookups), len(types)):
        asked = list(zip(lookups, answers, strict=True))[start : start + len(types)]
        records = [record for _, answer in asked for record in answer.records if isinstance(record, str)]
        addresses = sorted([address for address in records if _is_unicast(address)], key=_precedence, reverse=True)
        reasons = [
            _Reason(f"{lookup}: {answer.reason or 'no usable address'}", answer.is_failure) for lookup, answer in asked
        ]
        found.append(tuple(addresses[:MAX_ADDRESSES]) or _worst(reasons))
    return found


def _direct(name: str, transport: Transport, addresses: Iterable[str], port: int | None) -> Route:
    return Route([[Server(0, _hops(name, transport, addresses, port or DEFAULT_PORTS[transport]))]])


def _hops(name: str, transport: Transport, addresses: Iterable[str], port: int) -> tuple[Hop, ...]:
    """Return a hop for each address; a certificate must be for the name that was asked for (RFC 5922 4)."""
    certified = name if transport is Transport.TLS else ""
    return tuple([Hop(transport, address, port, certified) for address in addresses])


def _worst(reasons: Sequence[_Reason]) -> _Reason:
    """Return the reason that an operator should read: a server that failed before a name without records."""
    return max(reasons, key=lambda reason: reason.is_failure)


def _unique(servers: Iterable[Server]) -> tuple[Hop, ...]:
    return tuple(dict.fromkeys([hop for server in servers for hop in server.hops]))


# ---------------------------------------------------------------------- names and addresses


def response_hop(via: Via, flow: Flow) -> Hop | None:
    """Say where to open a connection for a response whose own is gone (18.2.2); a WebSocket leads nowhere."""
    transport = flow.transport
    if transport not in {Transport.TCP, Transport.TLS}:
        return None
    name = via.host.lower() if transport is Transport.TLS and not numeric(via.host) else ""
    return Hop(transport, flow.remote[0], via.port or DEFAULT_PORTS[transport], name)


def numeric(host: str) -> str | None:
    """Return an IP address in its shortest form, None for a name."""
    return _numeric(host) if len(host) <= MAX_ADDRESS_CHARS else None


@lru_cache(16_384)  # the same few neighbours and the UEs
def _numeric(host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if "%" in host else address.compressed


def is_host_name(name: str) -> bool:
    """Tell whether DNS can be asked for a name; underscores are those of services."""
    return _HOST_NAME.fullmatch(name) is not None


def _comparable(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_unicast(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_unspecified or parsed.is_multicast)


def _precedence(address: str) -> int:
    """Return the precedence of a destination (RFC 6724 2.1)."""
    if ":" not in address:
        return _IPV4_PRECEDENCE
    parsed = ipaddress.IPv6Address(address)
    return next((value for network, value in _OTHER_PRECEDENCES if parsed in network), _IPV6_PRECEDENCE)
