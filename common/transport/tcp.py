"""Shell: SIP over TCP (RFC 3261 18): connections accepted and made, reused in both directions.

A connection that is lost while something waits to be sent on it is a failure of that target; one that ends in peace is
not, since the response may come on another (18.2.2). Clause numbers below are of RFC 3261. Not covered: TLS, and
sharing a connection under its advertised alias (RFC 5923).
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import TYPE_CHECKING, Final, cast

from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Message
from opencscf.common.sip.parser import FramingLost, Item, Malformed, StreamParser
from opencscf.common.transport.udp import bind, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from opencscf.common.errors import ParseError

CONNECT_TIMEOUT_S: Final = 4.0
IDLE_S: Final = 3700.0  # longer than an hour's registration with its refresh
SILENT_S: Final = 32.0  # for a connection that was accepted and has not yet brought a message
SWEEP_S: Final = 8.0  # how often idle connections are looked for
MAX_CONNECTIONS: Final = 20_000
MAX_UNSENT_BYTES: Final = 1 << 20  # of one connection; a peer that reads more slowly than that is given up

_numbers = itertools.count(1)  # a flow's connection number is unique within the process


class TcpListener:
    """One listening TCP address and every connection from and to it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: tuple[str, int],
        receive: Callable[[Message, Flow], None],
        malformed: Callable[[bytes, ParseError, Flow], None],
        failed: Callable[[Hop | Flow, str], None],
    ) -> None:
        self.receive = receive
        self.malformed = malformed
        self._failed = failed
        self._loop = loop
        self._socket = bind(address, socket.SOCK_STREAM, "tcp")
        host, port = self._socket.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self.is_ipv6 = ":" in host
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._by_number: dict[int, Connection] = {}
        self._by_remote: dict[tuple[str, int], Connection] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self.is_closed = False

    async def start(self) -> None:
        """Begin to accept connections."""
        self._server = await self._loop.create_server(lambda: Connection(self, None), sock=self._socket)
        self._sweep()

    def send(self, data: bytes, target: Hop | Flow) -> None:
        """Send on the flow's own connection, else on one that is open to the address, else on a new one."""
        connection = self._by_number.get(target.connection) if isinstance(target, Flow) else None
        remote = target.remote if isinstance(target, Flow) else (target.host, target.port)
        if connection is None:
            connection = self._by_remote.get(remote) or self._connect(remote, target)
        if connection is not None:
            connection.send(data, target)

    def fail(self, target: Hop | Flow, reason: str) -> None:
        """Tell that a target cannot be reached, once the sender has come back from sending."""
        if not self.is_closed:
            self._loop.call_soon(self._failed, target, reason)

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

    def time(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def opened(self, connection: Connection) -> bool:
        """Take note of a connection; False if there are too many."""
        if self.is_closed or len(self._by_number) >= MAX_CONNECTIONS:
            return False
        self._by_number[connection.number] = connection
        self._by_remote.setdefault(connection.remote, connection)
        return True

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._by_number.pop(connection.number, None)
        if self._by_remote.get(connection.remote) is connection:
            del self._by_remote[connection.remote]

    def _connect(self, remote: tuple[str, int], target: Hop | Flow) -> Connection | None:
        connection = Connection(self, remote)
        if not self.opened(connection):
            self.fail(target, "too many connections")
            return None
        task = self._loop.create_task(self._open(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return connection

    async def _open(self, connection: Connection) -> None:
        host, port = connection.remote
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                local = (self.address[0], 0)
                await self._loop.create_connection(lambda: connection, host, port, local_addr=local)
        except TimeoutError:
            connection.give_up(f"no connection in {CONNECT_TIMEOUT_S:g} s")
        except (OSError, OverflowError) as error:
            connection.give_up(reason_of(error))

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in list(self._by_number.values()):
            if connection.idle_until < now:
                connection.close()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)


class Connection(asyncio.Protocol):
    """One TCP connection; `remote` is given for one that we open."""

    def __init__(self, listener: TcpListener, remote: tuple[str, int] | None) -> None:
        self.number = next(_numbers)
        self.remote = remote or ("", 0)
        self.idle_until = 0.0
        self._listener = listener
        self._is_ours = remote is not None
        self._is_given_up = False
        self._transport: asyncio.Transport | None = None
        self._parser = StreamParser()
        self._waiting: list[tuple[bytes, Hop | Flow]] = []  # until the connection is open
        self._waiting_bytes = 0
        self._targets: set[Hop | Flow] = set()  # what a loss of this connection is a failure of
        self._flow = Flow(Transport.TCP, listener.address, self.remote, self.number)
        self._touch(SILENT_S)

    def send(self, data: bytes, target: Hop | Flow) -> None:
        """Write, or keep until the connection is open."""
        self._touch(IDLE_S)
        self._targets.add(target)
        if self._transport is not None:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self.give_up("it reads too slowly")
            return
        self._waiting.append((data, target))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_UNSENT_BYTES:
            self.give_up("too much waits for the connection")

    def close(self) -> None:
        """Close once everything written has left; nothing that comes in meanwhile is looked at."""
        self._listener.closed(self)
        if self._transport is not None:
            self._transport.close()

    def give_up(self, reason: str) -> None:
        """Drop the connection and tell that its targets were not reached."""
        self._is_given_up = True
        self._listener.closed(self)
        self._waiting.clear()
        targets, self._targets = self._targets, set()
        for target in targets:
            self._listener.fail(target, reason)
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the open connection and send what waited for it."""
        self._transport = stream = cast("asyncio.Transport", transport)  # uvloop's own class only looks like one
        if not self._is_ours:
            peer = stream.get_extra_info("peername") or ("", 0)  # none if it is gone again
            self.remote = (peer[0], peer[1])
            self._flow = self._flow._replace(remote=self.remote)
            self._is_given_up = not self._listener.opened(self)
        if self._is_given_up:
            stream.abort()
            return
        waiting, self._waiting = self._waiting, []
        for data, _ in waiting:
            stream.write(data)

    def data_received(self, data: bytes) -> None:
        """Hand on the messages that are complete, and answer pings."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            items = self._parser.feed(data)
        except FramingLost as lost:
            self._hand_on(lost.items)
            self._listener.malformed(lost.data, lost, self._flow)
            self.close()
        else:
            self._hand_on(items)

    def _hand_on(self, items: list[Item]) -> None:
        assert self._transport is not None  # noqa: S101  something was received
        for item in items:
            self._touch(IDLE_S)
            if isinstance(item, Message):
                self._listener.receive(item, self._flow)
            elif isinstance(item, Malformed):
                self._listener.malformed(item.data, item.error, self._flow)
            else:
                self._transport.write(b"\r\n")  # RFC 5626 3.5.1

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; one that broke is a failure of what was sent on it."""
        if exc is not None:
            self.give_up(reason_of(exc))
        else:
            self._listener.closed(self)

    def _touch(self, seconds: float) -> None:
        self.idle_until = max(self.idle_until, self._listener.time() + seconds)
