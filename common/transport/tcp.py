"""Shell: SIP over connections: TCP, TLS, WebSocket (RFC 3261 18, RFC 7118): accepted and made, reused both ways.

A connection is bytes, maybe TLS (`tls.py`), and a framing (`framing.py`, `websocket.py`). One that is lost while
something waits to be sent on it is a failure of that target; one that ends in peace is not, since the response may come
on another (18.2.2). Over TCP, an open connection to an address serves whoever wants to send there. Over TLS only one
that we have made does, and only to the name for which its certificate was verified; a flow leaves on its own connection
or not at all. Clause numbers below are of RFC 3261. Not covered: sharing a connection under its advertised alias
(RFC 5923).
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from opencscf.common.node.connection_settings import ConnectionSettings
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Message
from opencscf.common.sip.parser import FramingLost, Item, Malformed
from opencscf.common.transport.framing import Framing, SipFraming
from opencscf.common.transport.udp import bind, reason_of
from opencscf.common.transport.websocket import WebSocketFraming

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from opencscf.common.errors import ParseError
    from opencscf.common.transport.tls import Certificates, TlsSession

CONNECT_TIMEOUT_S: Final = 4.0
CLOSE_TIMEOUT_S: Final = 4.0  # for a peer that does not read what was still to be sent
SWEEP_S: Final = 8.0  # how often idle connections are looked for
MAX_UNSENT_BYTES: Final = 1 << 20  # of one connection; a peer that reads more slowly than that is given up
MISSED_PINGS: Final = 3  # a peer that was silent for so many of their periods is gone

_numbers = itertools.count(1)  # a flow's connection number is unique within the process


@dataclass(frozen=True, slots=True)
class StreamHandlers:
    """Who hears what happens on connections; `failed` and `lost` are never called from within `send`."""

    receive: Callable[[Message, Flow], None]
    malformed: Callable[[bytes, ParseError, Flow], None]
    failed: Callable[[Hop | Flow, str], None]  # something could not be sent to this target
    lost: Callable[[Flow, str], None]  # we ended or refused a connection on which nothing was to be sent


class StreamListener:
    """One listening address and every connection from and to it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: tuple[str, int],
        handlers: StreamHandlers,
        *,
        transport: Transport = Transport.TCP,
        limits: ConnectionSettings | None = None,
        certificates: Certificates | None = None,
        origins: Collection[str] = (),
    ) -> None:
        """Bind; `certificates` make it TLS, `origins` are the web pages that may connect if it is WebSocket."""
        self.handlers = handlers
        self.transport = transport
        self.limits = limits or ConnectionSettings()
        self.is_websocket = transport in {Transport.WS, Transport.WSS}
        self.loop = loop
        self._certificates = certificates
        self._origins = origins
        self._socket = bind(address, socket.SOCK_STREAM, transport.lower())
        host, port = self._socket.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self.is_ipv6 = ":" in host
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._by_number: dict[int, Connection] = {}
        self._by_hop: dict[tuple[str, int, str], Connection] = {}
        self._by_source: dict[str, int] = {}  # how many there are that were accepted
        self._connecting: set[asyncio.Task[None]] = set()
        self.is_closed = False
        self.refused = 0  # too many
        self.lost = 0  # ended by us for a fault of the peer's, such as a handshake that failed

    async def start(self) -> None:
        """Begin to accept connections."""
        self._server = await self.loop.create_server(lambda: Connection(self, None), sock=self._socket)
        self._sweep()

    def send(self, data: bytes, target: Hop | Flow) -> None:
        """Send on the flow's own connection, else on one that is open to the address, else on a new one."""
        connection = self._by_number.get(target.connection) if isinstance(target, Flow) else None
        if connection is None:
            connection = self._connection_to(target)
        if connection is not None:
            connection.send(data, target)

    def is_open(self, flow: Flow) -> bool:
        """Whether the flow's own connection is still there."""
        return flow.connection in self._by_number

    def fail(self, target: Hop | Flow, reason: str) -> None:
        """Tell that a target cannot be reached, once the sender has come back from sending."""
        if not self.is_closed:
            self.loop.call_soon(self.handlers.failed, target, reason)

    def abandon(self) -> None:
        """Free the port of a listener that was never started."""
        self._socket.close()

    async def close(self) -> None:
        """Stop accepting, and close every connection once what was sent on it has left."""
        self.is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(self._by_number.values()):
            connection.close()

    @property
    def connections(self) -> int:
        """How many connections are open or being opened."""
        return len(self._by_number)

    # ------------------------------------------------------------------ what connections need

    def new_framing(self) -> Framing:
        """Return what cuts a connection's text into messages."""
        return WebSocketFraming(self._origins) if self.is_websocket else SipFraming()

    def new_session(self, hop: Hop | None) -> TlsSession | None:
        """Return what secures a connection, if that is our business; `hop` is where it leads if we make it."""
        if self._certificates is None:
            return None
        if hop is None:
            return self._certificates.for_client()
        return self._certificates.for_server(hop.name or hop.host)

    def opened(self, connection: Connection) -> str | None:
        """Take note of a connection, or say why there can be no more."""
        if self.is_closed:
            return "the node stops"
        if len(self._by_number) >= self.limits.max_connections:
            return "too many connections"
        if connection.hop is None:
            source = source_of(connection.remote[0])
            count = self._by_source.get(source, 0)
            if count >= self.limits.max_per_source:
                return "too many connections from there"
            self._by_source[source] = count + 1
        self._by_number[connection.number] = connection
        key = self._key(connection.hop or Hop(self.transport, *connection.remote))
        if connection.hop is not None or self.transport is Transport.TCP:
            self._by_hop.setdefault(key, connection)
        return None

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        if self._by_number.pop(connection.number, None) is None:
            return
        key = self._key(connection.hop or Hop(self.transport, *connection.remote))
        if self._by_hop.get(key) is connection:
            del self._by_hop[key]
        if connection.hop is None:
            source = source_of(connection.remote[0])
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]

    def _key(self, hop: Hop) -> tuple[str, int, str]:
        return hop.host, hop.port, hop.name if self._certificates is not None else ""

    def _connection_to(self, target: Hop | Flow) -> Connection | None:
        if self.is_websocket:
            self.fail(
                target, "the WebSocket is closed" if isinstance(target, Flow) else "only clients open a WebSocket"
            )
            return None
        if isinstance(target, Flow) and self._certificates is not None:
            self.fail(target, "the connection is closed")  # whom another one would lead to, nobody knows
            return None
        hop = target.hop if isinstance(target, Flow) else target
        return self._by_hop.get(self._key(hop)) or self._connect(hop, target)

    def _connect(self, hop: Hop, target: Hop | Flow) -> Connection | None:
        connection = Connection(self, hop)
        refusal = self.opened(connection)
        if refusal is not None:
            self.fail(target, refusal)
            return None
        task = self.loop.create_task(self._open(connection, hop))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return connection

    async def _open(self, connection: Connection, hop: Hop) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                local = (self.address[0], 0)
                await self.loop.create_connection(lambda: connection, hop.host, hop.port, local_addr=local)
        except TimeoutError:
            connection.give_up(f"no connection in {CONNECT_TIMEOUT_S:g} s")
        except (OSError, OverflowError) as error:
            connection.give_up(reason_of(error))

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self._by_number.values()):
            connection.look_after(now)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)


class Connection(asyncio.Protocol):
    """One connection; `hop` is where it leads if we make it."""

    def __init__(self, listener: StreamListener, hop: Hop | None) -> None:
        self.number = next(_numbers)
        self.hop = hop
        self.remote = (hop.host, hop.port) if hop is not None else ("", 0)
        self._listener = listener
        self._limits = listener.limits
        self._framing = listener.new_framing()
        self._session: TlsSession | None = None
        self._is_open = False  # messages can be sent
        self._is_used = False  # a message has come
        self._is_ended = False  # nothing more is sent, nor looked at
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None  # of the handshakes, later of the end
        self._waiting: list[bytes] = []  # until the connection is open
        self._waiting_bytes = 0
        self._targets: set[Hop | Flow] = set()  # what a loss of this connection is a failure of
        self._flow = Flow(listener.transport, listener.address, self.remote, self.number)
        self._heard_at = listener.loop.time()
        self._idle_until = 0.0
        self._partial_until: float | None = None  # when the message that has begun must have ended
        self._touch(self._limits.silent_s)

    def send(self, data: bytes, target: Hop | Flow) -> None:
        """Write, or keep until the connection is open."""
        self._touch(self._limits.idle_s)
        self._targets.add(target)
        if self._is_open:
            self._write(self._framing.frame(data))
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_UNSENT_BYTES:
            self.give_up("too much waits for the connection")

    def close(self) -> None:
        """Close once everything written has left; nothing that comes in meanwhile is looked at."""
        self._listener.closed(self)
        if self._is_ended:
            return
        if self._is_open:
            self._write(self._framing.end())
        if not self._is_ended:
            self._end()

    def give_up(self, reason: str) -> None:
        """Drop the connection, and tell that its targets were not reached or that it was lost."""
        if self._is_ended:
            return
        self._listener.closed(self)
        self._is_ended = True
        self._tell(reason)
        self._set_deadline(None)
        if self._transport is not None:
            self._transport.abort()

    def look_after(self, now: float) -> None:
        """End the connection if it has been of no use for too long, and see whether the peer lives."""
        if self._is_ended:
            return
        if self._partial_until is not None and self._partial_until < now:
            self._fail(f"a message did not end in {self._limits.message_s:g} s")
        elif self._idle_until < now:
            self.close()
        elif self._listener.is_websocket and self._is_open and now - self._heard_at >= self._limits.ping_s:
            if now - self._heard_at > MISSED_PINGS * self._limits.ping_s:
                self.give_up("no answer to pings")
            else:
                self._write(self._framing.ping())

    # ------------------------------------------------------------------ what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, and send what waited for it if no handshake comes first."""
        self._transport = stream = cast("asyncio.Transport", transport)  # uvloop's own class only looks like one
        if self._is_ended:
            stream.abort()
            return
        if self.hop is None:
            peer = stream.get_extra_info("peername") or ("", 0)  # none if it is gone again
            self.remote = (peer[0], peer[1])
            self._flow = self._flow._replace(remote=self.remote)
            refusal = self._listener.opened(self)
            if refusal is not None:
                self._listener.refused += 1
                self._is_ended = True
                self._listener.handlers.lost(self._flow, refusal)
                stream.abort()
                return
        self._session = self._listener.new_session(self.hop)
        self._set_deadline(self._limits.handshake_s, self._on_no_handshake)
        self._go_on([])

    def data_received(self, data: bytes) -> None:
        """Hand on the messages that are complete, and answer pings."""
        if self._is_ended:
            return
        self._heard_at = self._listener.loop.time()
        if self._is_used and self._listener.is_websocket:
            self._touch(self._limits.idle_s)  # a script cannot ping, but its browser answers ours
        if self._session is not None:
            data = self._session.feed(data)
        try:
            items = self._framing.feed(data) if data else []
        except FramingLost as lost:
            self._go_on(lost.items)
            if not self._is_ended:
                self._listener.handlers.malformed(lost.data, lost, self._flow)
                self.close()
        else:
            self._go_on(items)
            self._note_partial(is_progress=bool(items))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; one that broke is a failure of what was sent on it."""
        self._set_deadline(None)
        self._listener.closed(self)
        if self._is_ended:
            return
        self._is_ended = True
        if exc is not None:
            self._tell(reason_of(exc), is_quiet=self._is_open)
        elif not self._is_open:
            self._tell("closed during the handshake", is_quiet=self.hop is None)

    # ------------------------------------------------------------------ from bytes to messages and back

    def _go_on(self, items: list[Item]) -> None:
        """Say what the layers have to say, hand on messages, and end if a layer has ended."""
        session, framing = self._session, self._framing
        said = framing.output()
        if said or session is not None:
            self._write(said)
        if not self._is_open and framing.is_open and (session is None or session.is_open):
            self._on_open()
        self._hand_on(items)
        fault = framing.fault or (session.fault if session is not None else "")
        if fault:
            self._fail(fault)
        elif framing.is_over or (session is not None and session.is_over):
            self.close()

    def _on_open(self) -> None:
        self._is_open = True
        self._set_deadline(None)
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._write(self._framing.frame(data))

    def _hand_on(self, items: list[Item]) -> None:
        handlers = self._listener.handlers
        for item in items:
            if self._is_ended:
                return
            self._is_used = True
            self._touch(self._limits.idle_s)
            if isinstance(item, Message):
                handlers.receive(item, self._flow)
            elif isinstance(item, Malformed):
                handlers.malformed(item.data, item.error, self._flow)
            else:
                self._write(self._framing.frame(b"\r\n"))  # RFC 5626 3.5.1

    def _write(self, data: bytes) -> None:
        """Write through TLS, if there is any; a peer that does not read is given up."""
        stream = self._transport
        if stream is None or self._is_ended:
            return
        if self._session is not None:
            self._session.seal(data)
            data = self._session.output()
        if data:
            stream.write(data)
            if stream.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self.give_up("it reads too slowly")

    # ------------------------------------------------------------------ how it ends

    def _fail(self, reason: str) -> None:
        """End for a fault of the peer's, after the alert or close frame that tells it."""
        if self._is_ended:
            return
        self._listener.closed(self)
        self._tell(reason)
        self._end()

    def _end(self) -> None:
        self._is_ended = True
        self._set_deadline(None)
        stream = self._transport
        if stream is None:
            return
        if self._session is not None:
            self._session.end()
            stream.write(self._session.output())
        stream.close()
        self._set_deadline(CLOSE_TIMEOUT_S, stream.abort)

    def _tell(self, reason: str, *, is_quiet: bool = False) -> None:
        self._waiting.clear()
        targets, self._targets = self._targets, set()
        for target in targets:
            self._listener.fail(target, reason)
        if not targets and not is_quiet and not self._listener.is_closed:
            self._listener.lost += 1
            self._listener.handlers.lost(self._flow, reason)

    def _on_no_handshake(self) -> None:
        self.give_up(f"no handshake in {self._limits.handshake_s:g} s")

    # ------------------------------------------------------------------ time

    def _note_partial(self, *, is_progress: bool) -> None:
        if not self._framing.is_partial:
            self._partial_until = None
        elif is_progress or self._partial_until is None:
            self._partial_until = self._heard_at + self._limits.message_s

    def _set_deadline(self, delay_s: float | None, call: Callable[[], None] | None = None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if delay_s is not None and call is not None:
            self._deadline = self._listener.loop.call_later(delay_s, call)

    def _touch(self, seconds: float) -> None:
        self._idle_until = max(self._idle_until, self._listener.loop.time() + seconds)


def source_of(host: str) -> str:
    """Return what connections are counted by: an IPv4 address, or the /64 that one subscriber has (RFC 6177 2)."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
