"""Shell: all SIP listeners of a node, seen as one: where to send from, and what came from anywhere.

A flow leaves where it came in. A hop leaves from the listener of its transport and IP version; if several fit, from the
one whose address the host itself would use towards it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from opencscf.common.errors import StartupError
from opencscf.common.node.connection_settings import ConnectionSettings
from opencscf.common.node.settings import ListenTransport
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.transport.batch import MAX_DATAGRAM_BYTES
from opencscf.common.transport.tcp import StreamHandlers, StreamListener
from opencscf.common.transport.tls import Certificates
from opencscf.common.transport.udp import UdpListener

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from opencscf.common.errors import ParseError
    from opencscf.common.node.connection_settings import TlsSettings
    from opencscf.common.node.settings import ListenSettings
    from opencscf.common.sip.message import Message
    from opencscf.common.transport.handlers import Handlers

MAX_ROUTES: Final = 4096  # remote hosts towards whom the route is remembered
MTU_RESERVE: Final = 200  # RFC 3261 18.1.1: what a response may be larger than its request
UNKNOWN_MTU: Final = 1500  # Ethernet's, and so 1300 octets for a request
_IP_MTU: Final = 14  # Linux in.h; missing in the socket module
_IPV6_MTU: Final = 24  # Linux in6.h
RELOAD_S: Final = 10.0  # how often certificate files are looked at

_Listener: TypeAlias = UdpListener | StreamListener


class _Route(NamedTuple):
    """How the host itself would send to another: from which address, and in packets of which size."""

    source: str
    mtu: int


class SipEndpoint:
    """The listeners of a node; `Handlers` are given when it starts, so that what they need may be made with it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listen: Iterable[ListenSettings],
        *,
        connections: ConnectionSettings | None = None,
        tls: TlsSettings | None = None,
        origins: tuple[str, ...] = (),
    ) -> None:
        """Open every listener, or none and raise `StartupError`."""
        self._loop = loop
        self._handlers: Handlers | None = None
        self._limits = connections or ConnectionSettings()
        self._certificates = Certificates(tls) if tls is not None else None
        self._origins = origins
        self._reloader: asyncio.TimerHandle | None = None
        self._udp: list[UdpListener] = []
        self._streams: list[StreamListener] = []
        self._routes: dict[str, _Route] = {}
        self._chosen: dict[Hop, _Listener] = {}  # of MAX_ROUTES hops at most
        self._is_closed = False
        try:
            for settings in listen:
                self._open(settings)
        except StartupError as error:
            for listener in self._listeners:
                listener.abandon()
            raise StartupError(f"sip.listen: {error}") from error
        self._by_address: dict[tuple[Transport, tuple[str, int]], _Listener] = {}
        self._by_version: dict[tuple[Transport, bool], list[_Listener]] = {}
        for listener in self._listeners:
            transport = listener.transport
            self._by_address[transport, listener.address] = listener
            self._by_version.setdefault((transport, listener.is_ipv6), []).append(listener)

    def _open(self, settings: ListenSettings) -> None:
        address = (settings.address, settings.port)
        if ListenTransport.UDP in settings.transports:
            udp = UdpListener(self._loop, address)
            self._udp.append(udp)
            address = udp.address  # with port 0, both transports get the same one
        for name in settings.transports:
            if name is not ListenTransport.UDP:
                self._streams.append(self._open_stream(name, address))

    def _open_stream(self, name: ListenTransport, address: tuple[str, int]) -> StreamListener:
        return StreamListener(
            self._loop,
            address,
            StreamHandlers(self._receive, self._malformed, self._failed, self._lost),
            transport=Transport(name.upper()),
            limits=self._limits,
            certificates=self._certificates if name.is_secured else None,
            origins=self._origins,
        )

    async def start(self, handlers: Handlers) -> None:
        """Begin to receive."""
        self._handlers = handlers
        for stream in self._streams:
            await stream.start()
        for udp in self._udp:
            udp.start(handlers)
        if self._certificates is not None:
            self._reloader = self._loop.call_later(RELOAD_S, self._reload, self._certificates)

    def send(self, data: bytes, target: Hop | Flow) -> None:
        """Send a message; if it turns out that the target cannot be reached, `failed` is told later."""
        if self._is_closed:
            return
        listener = self._listener_for(target)
        if listener is not None:
            listener.send(data, target)
        else:
            self._fail_later(target, f"no listener for {target.transport} over IPv{6 if target.is_ipv6 else 4}")

    def is_open(self, flow: Flow) -> bool:
        """Whether the connection of a flow is still there; a datagram needs none."""
        listener = self._listener_for(flow)
        return listener is not None and (isinstance(listener, UdpListener) or listener.is_open(flow))

    def local_for(self, target: Hop | Flow) -> tuple[str, int]:
        """Return the listener's address that a message to this target carries in its Via and Record-Route."""
        if isinstance(target, Flow):
            return target.local
        listener = self._listener_for(target)
        return listener.address if listener is not None else self.addresses[0]

    def max_udp_request_bytes(self, hop: Hop) -> int:
        """Return how large a request to a UDP hop may be before it has to go over TCP (RFC 3261 18.1.1)."""
        if (Transport.TCP, hop.is_ipv6) not in self._by_version:
            return MAX_DATAGRAM_BYTES  # there is nothing to send it with
        return self._route_towards(hop.host).mtu - MTU_RESERVE

    async def close(self) -> None:
        """Stop receiving, and free the ports; nothing is sent or told any more."""
        self._is_closed = True
        self._handlers = None
        for udp in self._udp:
            udp.close()
        if self._reloader is not None:
            self._reloader.cancel()
        for stream in self._streams:
            await stream.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses listened on, each once, in the order of the settings."""
        return list(dict.fromkeys(listener.address for listener in self._listeners))

    @property
    def ip_versions(self) -> frozenset[int]:
        """The IP versions listened on."""
        return frozenset(6 if listener.is_ipv6 else 4 for listener in self._listeners)

    def counters(self) -> dict[str, int]:
        """Count what an operator wants to see of the wire."""
        counters = {
            "udp_received": sum(udp.received for udp in self._udp),
            "udp_sent": sum(udp.sent for udp in self._udp),
            "udp_receive_drops": sum(udp.receive_drops for udp in self._udp),
            "udp_send_drops": sum(udp.send_drops for udp in self._udp),
            "tcp_connections": 0,
        }
        for stream in self._streams:
            name = f"{stream.transport.lower()}_connections"
            counters[name] = counters.get(name, 0) + stream.connections
        counters["connections_refused"] = sum(stream.refused for stream in self._streams)
        counters["connections_lost"] = sum(stream.lost for stream in self._streams)
        return counters

    # ------------------------------------------------------------------ choosing a listener

    @property
    def _listeners(self) -> list[_Listener]:
        return [*self._udp, *self._streams]

    def _listener_for(self, target: Hop | Flow) -> _Listener | None:
        if isinstance(target, Flow):
            own = self._by_address.get((target.transport, target.local))
            return own if own is not None else self._choose(target)
        chosen = self._chosen.get(target)
        if chosen is None:
            chosen = self._choose(target)
            if chosen is not None:
                if len(self._chosen) >= MAX_ROUTES:
                    self._chosen.clear()
                self._chosen[target] = chosen
        return chosen

    def _choose(self, target: Hop | Flow) -> _Listener | None:
        fitting = self._by_version.get((target.transport, target.is_ipv6), ())
        if len(fitting) > 1:
            source = self._route_towards(target.remote[0] if isinstance(target, Flow) else target.host).source
            fitting = sorted(fitting, key=lambda listener: listener.address[0] != source)
        return fitting[0] if fitting else None

    def _route_towards(self, host: str) -> _Route:
        route = self._routes.get(host)
        if route is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            route = self._routes[host] = _route(host)
        return route

    # ------------------------------------------------------------------ what the listeners tell

    def _receive(self, message: Message, flow: Flow) -> None:
        if self._handlers is not None:
            self._handlers.receive(message, flow)

    def _malformed(self, data: bytes, error: ParseError, flow: Flow) -> None:
        if self._handlers is not None:
            self._handlers.malformed(data, error, flow)

    def _failed(self, target: Hop | Flow, reason: str) -> None:
        if self._handlers is not None:
            self._handlers.failed(target, reason)

    def _lost(self, flow: Flow, reason: str) -> None:
        if self._handlers is not None:
            self._handlers.lost(flow, reason)

    def _reload(self, certificates: Certificates) -> None:
        """Use changed certificate files; those that are no use leave things as they were."""
        self._reloader = self._loop.call_later(RELOAD_S, self._reload, certificates)
        assert self._handlers is not None  # noqa: S101  started, and not closed
        try:
            if certificates.reload():
                self._handlers.reloaded(None)
        except StartupError as fault:
            self._handlers.reloaded(fault)

    def _fail_later(self, target: Hop | Flow, reason: str) -> None:
        self._loop.call_soon(self._failed, target, reason)


def _route(host: str) -> _Route:
    is_ipv6 = ":" in host
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if is_ipv6 else (socket.IPPROTO_IP, _IP_MTU)
    try:
        with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing
            return _Route(str(probe.getsockname()[0]), probe.getsockopt(level, option))
    except OSError:
        return _Route("", UNKNOWN_MTU)
