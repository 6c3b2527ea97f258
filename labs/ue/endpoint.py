"""One UE's SIP over UDP: its socket, its transactions (RFC 3261 17) and its trace.

Every answer is awaited for a bounded time, and a `StepError` says which step got none. Not covered: TCP, which the
simulated UEs do not need on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncio_dgram

from opencscf.common.errors import OpencscfError, ParseError, StartupError
from opencscf.common.ids import Ids
from opencscf.common.node.trace import host_port
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.matching import TransactionTable
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.timers import Timer, TimerValues
from opencscf.common.sip.transaction import (
    ClientTransaction,
    Deliver,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    Output,
    ServerTransaction,
    StartTimer,
    Terminated,
    TimedOut,
    Transmit,
    TransportFailed,
    cancel_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opencscf.common.node.trace import Trace

Address = tuple[str, int]


class StepError(OpencscfError):
    """A step of a UE did not end as it should; the text names the UE, the step and what came instead."""


class _Client:
    """A client transaction and who hears of its responses."""

    __slots__ = ("failed", "request", "responded", "target", "transaction")

    def __init__(
        self,
        request: Request,
        transaction: ClientTransaction,
        target: Address,
        responded: Callable[[Response], None],
        failed: Callable[[str], None],
    ) -> None:
        self.request = request
        self.transaction = transaction
        self.target = target
        self.responded = responded
        self.failed = failed


class _Server:
    """A server transaction and where its responses go."""

    __slots__ = ("target", "transaction")

    def __init__(self, transaction: ServerTransaction, target: Address) -> None:
        self.transaction = transaction
        self.target = target


class Endpoint:
    """Sends and receives for one UE; `on_request` hears each new request, each CANCEL and each ACK to a 2xx."""

    def __init__(
        self, name: str, local: Address, *, trace: Trace | None = None, timers: TimerValues | None = None
    ) -> None:
        self.name = name
        self.local = local
        self.ids = Ids()
        self.timers = timers or TimerValues()
        self.on_request: Callable[[Request], None] = lambda request: self.answer(request, 405)
        self._trace = trace
        self._socket: Any = None  # asyncio-dgram's DatagramServer, whose types are too wide for an IP address
        self._tasks: list[asyncio.Task[None]] = []
        self._outgoing: asyncio.Queue[tuple[bytes, Address, Message | None]] = asyncio.Queue()
        self._transactions: TransactionTable[_Client, _Server] = TransactionTable()
        self._timers: set[asyncio.TimerHandle] = set()

    async def open(self) -> None:
        """Bind the socket and start to receive; port 0 takes any free one."""
        try:
            self._socket = await asyncio_dgram.bind(self.local)
        except OSError as error:
            raise StartupError(f"{self.name}: {host_port(self.local)}/udp: {error.strerror or error}") from error
        self.local = self._socket.sockname[:2]
        self._tasks = [asyncio.create_task(self._receive_all()), asyncio.create_task(self._send_all())]

    async def close(self) -> None:
        """Stop at once; transactions in progress are dropped."""
        for timer in self._timers:
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        if self._trace is not None:
            self._trace.close()

    # ------------------------------------------------------------------ as a client

    def start(
        self,
        request: Request,
        target: Address,
        responded: Callable[[Response], None],
        failed: Callable[[str], None],
    ) -> None:
        """Put our Via on a request and send it in a new client transaction."""
        request.prepend("Via", f"SIP/2.0/UDP {host_port(self.local)};branch={self.ids.branch()};rport")
        self._start(request, target, responded, failed)

    def cancel(self, invite: Request, target: Address) -> None:
        """Send the CANCEL of an INVITE that was sent with `start`; the INVITE's own 487 tells the outcome."""
        self._start(cancel_request(invite), target, lambda _: None, lambda _: None)

    async def ask(self, request: Request, target: Address, *, patience_s: float, step: str = "") -> Response:
        """Send a request other than INVITE and wait for its final response."""
        final: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        step = step or request.method

        def responded(response: Response) -> None:
            if response.status >= 200 and not final.done():
                final.set_result(response)

        def failed(reason: str) -> None:
            if not final.done():
                final.set_exception(StepError(f"{self.name}: {step} to {host_port(target)}: {reason}"))

        self.start(request, target, responded, failed)
        try:
            async with asyncio.timeout(patience_s):
                return await final
        except TimeoutError:
            raise StepError(self.silence(step, target, patience_s)) from None

    def silence(self, step: str, target: Address, patience_s: float) -> str:
        """Say that nothing came."""
        return f"{self.name}: no answer to {step} from {host_port(target)} in {patience_s:g} s"

    def send(self, message: Message, target: Address) -> None:
        """Send outside any transaction: an ACK to a 2xx, with our Via on it already or put on here."""
        if isinstance(message, Request) and not message.has("Via"):
            message.prepend("Via", f"SIP/2.0/UDP {host_port(self.local)};branch={self.ids.branch()};rport")
        self._outgoing.put_nowait((bytes(message), target, message))

    def _start(
        self,
        request: Request,
        target: Address,
        responded: Callable[[Response], None],
        failed: Callable[[str], None],
    ) -> None:
        machine = InviteClientTransaction if request.method == "INVITE" else NonInviteClientTransaction
        transaction = machine(request, key=request.via.branch or "", reliable=False, timers=self.timers)
        client = _Client(request, transaction, target, responded, failed)
        self._transactions.add_client(transaction, client)
        self._from_client(client, transaction.start())

    # ------------------------------------------------------------------ as a server

    def answer(
        self,
        request: Request,
        status: int,
        *,
        to_tag: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> None:
        """Answer a request that `on_request` got."""
        server = self._transactions.find_server(request)
        if server is None:
            return
        to_tag = to_tag or self.ids.tag()
        response = Response.to_request(
            request, status, to_tag=to_tag, headers=headers, body=body, content_type=content_type
        )
        self._from_server(server, server.transaction.respond(response))

    # ------------------------------------------------------------------ the wire

    async def _receive_all(self) -> None:
        while True:
            try:
                data, source = await self._socket.recv()
            except OSError:  # an ICMP error about something sent before; the transaction's timers deal with it
                continue
            if data.strip(b"\r\n\0"):
                with contextlib.suppress(ParseError):  # what cannot be parsed counts as lost
                    self._receive(data, source[:2])

    async def _send_all(self) -> None:
        while True:
            data, target, message = await self._outgoing.get()
            if message is not None:
                self._note("out", message, target)
            with contextlib.suppress(OSError):  # as good as lost on the way
                await self._socket.send(data, target)

    def _receive(self, data: bytes, source: Address) -> None:
        message = parse(data)
        message.flow = Flow(Transport.UDP, self.local, source)
        self._note("in", message, source)
        if isinstance(message, Response):
            client = self._transactions.find_client(message)
            if client is not None:
                self._from_client(client, client.transaction.on_response(message))
        else:
            self._receive_request(message, source)

    def _receive_request(self, request: Request, source: Address) -> None:
        server = self._transactions.find_server(request)
        if server is not None:
            self._from_server(server, server.transaction.on_request(request))
        elif request.method != "ACK":
            machine = InviteServerTransaction if request.method == "INVITE" else NonInviteServerTransaction
            transaction = machine(request, reliable=False, timers=self.timers)
            self._transactions.add_server(transaction, _Server(transaction, source))
            self.on_request(request)
        else:
            self.on_request(request)

    def _from_client(self, client: _Client, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Transmit(message):
                    self.send(message, client.target)
                case StartTimer(timer, delay_s):
                    self._call_later(delay_s, partial(self._client_timer, client, timer))
                case Deliver(response):
                    client.responded(response)
                case TimedOut():
                    client.failed("no answer")
                case TransportFailed():
                    client.failed("could not be sent")
                case Terminated():
                    self._transactions.remove_client(client.transaction)

    def _from_server(self, server: _Server, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Transmit(message):
                    self.send(message, server.target)
                case StartTimer(timer, delay_s):
                    self._call_later(delay_s, partial(self._server_timer, server, timer))
                case Terminated():
                    self._transactions.remove_server(server.transaction)

    def _client_timer(self, client: _Client, timer: Timer) -> None:
        self._from_client(client, client.transaction.on_timer(timer))

    def _server_timer(self, server: _Server, timer: Timer) -> None:
        self._from_server(server, server.transaction.on_timer(timer))

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.discard(handle)
            callback()

        handle = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(handle)

    def _note(self, direction: str, message: Message, peer: Address) -> None:
        if self._trace is not None:
            self._trace.message(direction, message, Flow(Transport.UDP, self.local, peer))
            self._trace.flush()
