"""Shell: SIP over UDP (RFC 3261 18): a socket read in batches, and a sender that never waits.

A plain socket under the loop's `add_reader`, because that costs less per datagram than a `DatagramProtocol` and lets us
count what the kernel drops. Between the two is an epoll object of the socket's own: the error queue, which holds what
ICMP tells (18.4), wakes it as datagrams do, whereas uvloop takes such an event for the end of the socket. What one turn
of the loop sends leaves together at its end. Clause numbers below are of RFC 3261.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import ParseError, StartupError
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.parser import parse
from opencscf.common.transport.batch import note_arrivals, open_batch
from opencscf.common.transport.icmp import note_errors, read_errors
from opencscf.common.transport.stun import MAX_FIRST_OCTET, binding_response

if TYPE_CHECKING:
    import asyncio

    from opencscf.common.sip.flow import Hop
    from opencscf.common.transport.handlers import Handlers

BUFFER_BYTES: Final = 4 << 20  # a burst of some thousand messages; the kernel gives what it allows
LISTEN_BACKLOG: Final = 1024
MAX_UNSENT: Final = 16  # datagrams that may wait for the end of the loop's turn

_SO_MEMINFO: Final = 55  # these three from Linux asm-generic/socket.h; missing in the socket module
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_MEMINFO_DROPS: Final = 8  # Linux sock_diag.h: SK_MEMINFO_DROPS, the last of nine counters


class UdpListener:
    """One bound UDP socket; `Handlers` are given when it starts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: tuple[str, int]) -> None:
        self.transport = Transport.UDP
        self._loop = loop
        self._handlers: Handlers | None = None
        self._socket = bind(address, socket.SOCK_DGRAM, "udp")
        _enlarge_buffers(self._socket)
        note_arrivals(self._socket)
        note_errors(self._socket)
        host, port = self._socket.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self.is_ipv6 = ":" in host
        self.received = 0
        self.send_drops = 0  # the send buffer was full for long; SIP retransmits
        self._is_reading = False  # and will send at the end of it
        self._is_blocked = False  # until the send buffer has room
        self._is_closed = False
        self._batch = open_batch(self._socket, self._flow_from)
        self._events = select.epoll()
        self._events.register(self._socket, select.EPOLLIN)

    def _flow_from(self, host: str, port: int) -> Flow:
        return Flow(Transport.UDP, self.address, (host, port))

    def start(self, handlers: Handlers) -> None:
        """Begin to receive."""
        self._handlers = handlers
        self._loop.add_reader(self._events.fileno(), self._on_ready, handlers)

    def send(self, data: bytes, target: Hop | Flow) -> None:
        """Send a datagram at the end of the loop's turn, or sooner if there are many."""
        host, port = target.remote if isinstance(target, Flow) else (target.host, target.port)
        try:
            unsent = self._batch.queue(data, host, port, target)
        except (OverflowError, ValueError) as error:
            self._loop.call_soon(self._fail, target, str(error))
            return
        if unsent == 1:
            if not self._is_reading:
                self._loop.call_soon(self._flush)
        elif unsent == 0:
            self.send_drops += 1
        elif unsent >= MAX_UNSENT and not self._is_blocked:
            self._flush()

    @property
    def sent(self) -> int:
        """How many datagrams have left."""
        return self._batch.sent

    def close(self) -> None:
        """Stop receiving and free the port."""
        if self._is_closed:
            return
        self._is_closed = True
        self._batch.flush()  # the last answers
        self._batch.close()
        self._loop.remove_reader(self._events.fileno())
        self._events.close()
        self._socket.close()

    abandon = close  # before it was started

    @property
    def receive_drops(self) -> int:
        """How many datagrams the kernel dropped because we were slow (Linux; 0 elsewhere)."""
        try:
            counters = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
            return int(struct.unpack("9I", counters)[_MEMINFO_DROPS])
        except (OSError, struct.error):
            return 0

    def _on_ready(self, handlers: Handlers) -> None:
        """Take what has come; there may also be room to send again, or news of what did not arrive."""
        self._is_reading = True
        try:
            datagrams = self._batch.receive()
            if datagrams:
                handlers.delayed(self._batch.waited_s)
            for data, flow in datagrams:
                self.received += 1
                self._take(data, flow, handlers)
                if self._is_closed:
                    return
            if self._batch.has_errors:
                self._take_errors(handlers)
        finally:
            self._is_reading = False
            self._flush()

    def _take(self, data: bytes, flow: Flow, handlers: Handlers) -> None:
        if len(data) < 5 and not data.strip(b"\r\n\0"):
            return  # a keep-alive (RFC 5626 3.5.1 gives UDP others, but UEs send these)
        if data[0] <= MAX_FIRST_OCTET:
            self._answer_stun(data, flow)
            return
        try:
            message = parse(data)
        except ParseError as error:
            handlers.malformed(data, error, flow)
        else:
            handlers.receive(message, flow)

    def _take_errors(self, handlers: Handlers) -> None:
        news, self._batch.has_errors = read_errors(self._socket)
        for undelivered in news:
            handlers.undelivered(undelivered)
            if self._is_closed:
                return

    def _flush(self) -> None:
        """Send what there is; what has no room waits until it has."""
        if self._is_closed:
            return
        for target, error in self._batch.flush():
            self._loop.call_soon(self._fail, target, os.strerror(error).lower())
        is_blocked = self._batch.waiting > 0
        if is_blocked != self._is_blocked:
            self._is_blocked = is_blocked
            self._events.modify(self._socket, select.EPOLLIN | select.EPOLLOUT if is_blocked else select.EPOLLIN)

    def _fail(self, target: Hop | Flow, reason: str) -> None:
        if self._handlers is not None and not self._is_closed:
            self._handlers.failed(target, reason)

    def _answer_stun(self, data: bytes, flow: Flow) -> None:
        if (answer := binding_response(data, flow.remote)) is not None:
            self.send(answer, flow)


def _enlarge_buffers(opened: socket.socket) -> None:
    """Ask for large buffers: beyond the host's limit if we may, else as much as it gives."""
    for forced, usual in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            opened.setsockopt(socket.SOL_SOCKET, usual, BUFFER_BYTES)


def bind(address: tuple[str, int], kind: socket.SocketKind, protocol: str) -> socket.socket:
    """Return a non-blocking socket bound to an address, or raise `StartupError` that says which and why."""
    host, port = address
    shown = f"[{host}]:{port}/{protocol}" if ":" in host else f"{host}:{port}/{protocol}"
    try:
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    except OSError as error:
        raise StartupError(f"{shown} cannot be opened: {reason_of(error)}") from error
    try:
        bound.setblocking(False)
        if ":" in host:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        if kind is socket.SOCK_STREAM:
            bound.listen(LISTEN_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"{shown} is in use by another process") from error
        raise StartupError(f"{shown} cannot be opened: {reason_of(error)}") from error
    return bound


def reason_of(error: Exception) -> str:
    """Say in a few words what the system said."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host does not have the address"
    return (error.strerror or str(error) or type(error).__name__).lower()
