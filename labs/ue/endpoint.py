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
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    ServerTransaction,
    cancel_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opencscf.common.node.trace import Trace

Address = tuple[str, int]


class StepError(OpencscfError):
    """A step of a UE did not end as it should; the text names the UE, the step and what came instead."""


class _Client:
    """The user of a client transaction: who hears of its responses."""

    def __init__(
        self,
        endpoint: Endpoint,
        transaction: ClientTransaction,
        target: Address,
        responded: Callable[[Response], None],
        failed: Callable[[str], None],
    ) -> None:
        self.endpoint = endpoint
        self.transaction = transaction
        self.target = target
        self.deliver = responded
        self.failed = failed

    def transmit(self, data: bytes, message: Message | None) -> None:
        self.endpoint.put(data, self.target, message)

    def start_timer(self, timer: Timer, delay_s: float) -> None:
        self.endpoint.call_later(delay_s, partial(self.transaction.on_timer, timer, self))

    def timed_out(self) -> None:
        self.failed("no answer")

    def transport_failed(self) -> None:
        self.failed("could not be sent")

    def terminated(self) -> None:
        self.endpoint.transactions.remove_client(self.transaction)


class _Server:
    """The user of a server transaction: where its responses go."""

    def __init__(self, endpoint: Endpoint, transaction: ServerTransaction, target: Address) -> None:
        self.endpoint = endpoint
        self.transaction = transaction
        self.target = target

    def transmit(self, data: bytes, message: Message | None) -> None:
        self.endpoint.put(data, self.target, message)

    def start_timer(self, timer: Timer, delay_s: float) -> None:
        self.endpoint.call_later(delay_s, partial(self.transaction.on_timer, timer, self))

    def deliver_ack(self, ack: Request) -> None:
        """Absorb an ACK that came in the INVITE's own branch."""

    def timed_out(self) -> None:
        """Do nothing about an ACK that did not come."""

    def transport_failed(self) -> None:
        """Do nothing about a response that did not leave."""

    def terminated(self) -> None:
        self.endpoint.transactions.remove_server(self.transaction)


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
        self.transactions: TransactionTable[_Client, _Server] = TransactionTable()
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
        self.put(bytes(message), target, message)

    def put(self, data: bytes, target: Address, message: Message | None) -> None:
        """Send octets, and trace the message that they are."""
        self._outgoing.put_nowait((data, target, message or parse(data)))

    def _start(
        self,
        request: Request,
        target: Address,
        responded: Callable[[Response], None],
        failed: Callable[[str], None],
    ) -> None:
        machine = InviteClientTransaction if request.method == "INVITE" else NonInviteClientTransaction
        transaction = machine(request, key=request.via.branch or "", reliable=False, timers=self.timers)
        client = _Client(self, transaction, target, responded, failed)
        self.transactions.add_client(transaction, client)
        transaction.start(client)

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
        server = self.transactions.find_server(request)
        if server is None:
            return
        to_tag = to_tag or self.ids.tag()
        response = Response.to_request(
            request, status, to_tag=to_tag, headers=headers, body=body, content_type=content_type
        )
        server.transaction.respond(response, server)

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
            client = self.transactions.find_client(message)
            if client is not None:
                client.transaction.on_response(message, client)
        else:
            self._receive_request(message, source)

    def _receive_request(self, request: Request, source: Address) -> None:
        server = self.transactions.find_server(request)
        if server is not None:
            server.transaction.on_request(request, server)
        elif request.method != "ACK":
            machine = InviteServerTransaction if request.method == "INVITE" else NonInviteServerTransaction
            transaction = machine(request, reliable=False, timers=self.timers)
            self.transactions.add_server(transaction, _Server(self, transaction, source))
            self.on_request(request)
        else:
            self.on_request(request)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back, unless the endpoint is closed before."""

        def fire() -> None:
            self._timers.discard(handle)
            callback()

        handle = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(handle)

    def _note(self, direction: str, message: Message, peer: Address) -> None:
        if self._trace is not None:
            self._trace.message(direction, message, Flow(Transport.UDP, self.local, peer))
            self._trace.flush()
