"""Shell: one peer over all its TCP connections, one at a time: performs what its state machine says.

A question is a dictionary entry until its answer comes, its time is over, or its connection is lost: no task, future
or timer of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, assert_never, cast

from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.node.trace import host_port
from opencscf.diameter import dictionary
from opencscf.diameter.codec import ERROR, REQUEST, Avp, DiameterMessage, Malformed, StreamDecoder
from opencscf.diameter.dictionary import TGPP, Application, Command, command_name
from opencscf.diameter.peer import (
    DISCONNECT_TIMEOUT_S,
    Closed,
    Connect,
    Deliver,
    Disconnect,
    Opened,
    Output,
    PeerMachine,
    PeerTimers,
    Recovered,
    Suspected,
    Transmit,
    error_message,
)
from opencscf.diameter.results import Result, result_avps, result_of
from opencscf.diameter.settings import PeerSettings

if TYPE_CHECKING:
    from opencscf.diameter.connection import DiameterClient  # which imports this module

MAX_BATCH_BYTES = 1 << 16  # that wait for the loop's next turn
MAX_UNSENT_BYTES = 1 << 20  # that a peer may leave unread before we ask it nothing more

_FAILED_AVP = dictionary.FAILED_AVP

NO_STATE_MAINTAINED = 1  # Auth-Session-State, RFC 6733 8.11

A_co = TypeVar("A_co", covariant=True)
A = TypeVar("A")


class DiameterQuestion(Protocol[A_co]):
    """What a question of `cx` or `rx` knows of itself."""

    @property
    def command(self) -> Command:
        """Its command code."""
        ...

    @property
    def session_id(self) -> str | None:
        """The session it belongs to, or None for one of its own."""
        ...

    def encode(self) -> bytes:
        """Write the request's own AVPs."""
        ...

    def read_answer(self, avps: Sequence[Avp]) -> A_co:
        """Read what the peer answers."""
        ...


class Log(Protocol):
    """Where the operator reads."""

    def event(self, level: str, event: str, **fields: object) -> None:
        """Log one event with its fields."""
        ...


class Tracer(Protocol):
    """Where each message is told in one line, without its contents."""

    def __call__(
        self,
        direction: str,
        protocol: str,
        *,
        peer: tuple[str, int],
        local: tuple[str, int],
        summary: str,
        fields: dict[str, str | None],
    ) -> None:
        """Trace a message that came "in" or goes "out"."""
        ...


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """How it stands with a peer: `reason` tells why it cannot be used."""

    host: str
    address: str
    is_open: bool
    reason: str = ""

    def __str__(self) -> str:
        return "open" if self.is_open else self.reason


Respond: TypeAlias = "Callable[[Result, Sequence[Avp]], None]"
OnRequest: TypeAlias = "Callable[[DiameterMessage, Respond], bool]"  # False: not handled here


# A question on its way, who waits for the answer, until when; of any answer type.
_Pending: TypeAlias = "tuple[DiameterQuestion[Any], Callable[[Any], None], float]"


class PeerConnection:
    """One peer over all its connections, one at a time."""

    def __init__(self, client: DiameterClient, settings: PeerSettings) -> None:
        self.name = f"{settings.host} ({host_port((settings.address, settings.port))})"
        self._reason = "not connected yet"
        self.closed = asyncio.Event()
        self.closed.set()
        self.machine = PeerMachine(
            client.node,
            settings.host,
            identifiers=client.identifiers,
            timers=PeerTimers(client.settings.connect_timeout_s, client.settings.watchdog_s),
            jitter=lambda: random.uniform(-1, 1),  # noqa: S311  # no secret
        )
        self._client = client
        self._settings = settings
        self._pending: dict[int, _Pending] = {}  # by Hop-by-Hop, in the order of their deadlines
        self._connecting: asyncio.Task[None] | None = None
        self._connection: _Connection | None = None

    @property
    def rank(self) -> int | None:
        """How good the peer is now, None if it cannot be asked."""
        connection = self._connection
        return None if connection is None or connection.is_congested else self.machine.rank

    @property
    def why_not(self) -> str:
        """Tell why the peer cannot be asked."""
        is_congested = self._connection is not None and self._connection.is_congested
        return self._reason or ("does not read what we send" if is_congested else "not open")

    def status(self) -> PeerStatus:
        """Tell how it stands with the peer."""
        is_open = self.machine.rank is not None
        address = host_port((self._settings.address, self._settings.port))
        return PeerStatus(self._settings.host, address, is_open, "" if is_open else self._reason)

    def ask(self, question: DiameterQuestion[Any], reply: Callable[[Any], None]) -> None:
        """Send a question on the open connection."""
        client, connection = self._client, self._connection
        if connection is None:
            reply(PeerUnavailable(self.name, self.why_not))
            return
        number = client.identifiers.next()
        data = client.encode(question, number)
        self._pending[number] = (question, reply, client.clock.now() + client.settings.request_timeout_s)
        client.in_flight += 1
        if client.trace is not None:
            self._trace("out", command_name(question.command, is_request=True), question)
        connection.send(data)

    def on_tick(self, now: float) -> None:
        """Do what is due."""
        outputs = self.machine.on_tick(now)
        if outputs:
            self.perform(outputs)
        if self._pending:
            self._end_overdue(now)

    def perform(self, outputs: Sequence[Output]) -> None:
        """Do what the state machine says."""
        for output in outputs:
            match output:
                case Deliver(message):
                    self._deliver(message)
                case Connect():
                    self.closed.clear()
                    self._connecting = asyncio.get_running_loop().create_task(self._connect())
                case Disconnect():
                    self._disconnect()
                case Transmit(message):
                    self._transmit(message)
                case Opened():
                    self._on_usable("diameter-open")
                case Recovered():
                    self._on_usable("diameter-recovered")
                case Suspected(reason):
                    self._on_unusable("diameter-suspect", reason, "warning")
                case Closed(reason):
                    self._on_unusable("diameter-closed", reason, "info" if output.is_orderly else "warning")
                    self.closed.set()
                case _:
                    assert_never(output)

    def on_connected(self, connection: _Connection, local_address: str) -> None:
        """Take a new connection into use."""
        if self._connection is not None:  # one that was given up came late
            connection.close()
            return
        self._connection = connection
        self.perform(self.machine.on_connected(self._client.clock.now(), local_address))

    def on_lost(self, connection: _Connection, reason: str) -> None:
        """Take note of the end of a connection, unless it was ended from here."""
        if connection is self._connection:
            self.perform(self.machine.on_disconnected(self._client.clock.now(), reason))

    def on_data(self, connection: _Connection, decoder: StreamDecoder) -> None:
        """Handle every message that has come in whole."""
        now = self._client.clock.now()
        try:
            while connection is self._connection and (message := decoder.next_message()) is not None:
                if isinstance(message, Malformed):
                    self._on_malformed(message)
                    continue
                if self._client.trace is not None:
                    self._trace_message("in", message)
                if self.machine.is_for_node(message, now):
                    self._deliver(message)
                else:
                    self.perform(self.machine.on_message(message, now))
        except ParseError as error:
            self._log("warning", "diameter-malformed", reason=error.reason)
            self.on_lost(connection, f"sent what is not Diameter: {error.reason}")

    async def _connect(self) -> None:
        address, port = self._settings.address, self._settings.port
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Connection(self), address, port)
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            self.perform(self.machine.on_disconnected(self._client.clock.now(), reason))

    def _disconnect(self) -> None:
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        self._connecting = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _transmit(self, message: DiameterMessage) -> None:
        if self._connection is not None:
            if self._client.trace is not None:
                self._trace_message("out", message)
            self._connection.send(message.encode())

    def _deliver(self, message: DiameterMessage) -> None:
        command, _, flags, number, end_to_end, avps = message
        if flags & REQUEST:
            self._on_request(message)
            return
        pending = self._pending.get(number)
        if pending is None or end_to_end != number:  # ours are equal
            self._log("debug", "diameter-answer-unknown", command=command, hop_by_hop=number)
            return
        question = pending[0]
        if flags & ERROR or command != question.command or _FAILED_AVP.octets_in(avps) is not None:
            self._end(number, self._read_odd_answer(question, message))
            return
        try:
            answer = question.read_answer(avps)
        except ParseError as error:
            answer = self._unusable(error.reason)
        self._end(number, answer)

    def _read_odd_answer(self, question: DiameterQuestion[A], message: DiameterMessage) -> A | PeerUnavailable:
        """Read an answer that may be no answer: not to this question, or not from who decides on it."""
        name = command_name(question.command, is_request=False)
        if message.command != question.command:
            return self._unusable(f"{command_name(message.command, is_request=False)} instead of {name}")
        try:
            if message.is_error and (result := result_of(message.avps, name)).is_protocol_error:
                return PeerUnavailable(self.name, f"{name} with {result}{error_message(message)}")
            answer = question.read_answer(message.avps)
        except ParseError as error:
            return self._unusable(error.reason)
        if _FAILED_AVP.octets_in(message.avps) is not None:
            self._log("warning", "diameter-refused", answer=name, reason=error_message(message).removeprefix(", "))
        return answer

    def _unusable(self, reason: str) -> PeerUnavailable:
        self._log("warning", "diameter-answer-unusable", reason=reason)
        return PeerUnavailable(self.name, f"unusable answer: {reason}")

    def _end(self, number: int, answer: object) -> None:
        """Give a question its answer, or the reason why there is none."""
        pending = self._pending.pop(number, None)
        if pending is not None:
            self._client.in_flight -= 1
            pending[1](answer)

    def _end_all(self, reason: str) -> None:
        for number in list(self._pending):
            self._end(number, PeerUnavailable(self.name, reason))

    def _end_overdue(self, now: float) -> None:
        overdue = []
        for number, (_, _, deadline) in self._pending.items():
            if deadline > now:
                break
            overdue.append(number)
        for number in overdue:
            self._end(number, PeerUnavailable(self.name, f"no answer in {self._client.settings.request_timeout_s:g} s"))

    def _on_request(self, request: DiameterMessage) -> None:
        """Let the node handle a request of the peer, or refuse it (7.1.3)."""
        connection = self._connection
        handler = self._client.on_request
        if request.application != self._client.application:
            self._answer(connection, request, Result.APPLICATION_UNSUPPORTED)
        elif handler is None or not handler(
            request, lambda result, avps: self._answer(connection, request, result, avps)
        ):
            self._answer(connection, request, Result.COMMAND_UNSUPPORTED)

    def _answer(
        self, connection: _Connection | None, request: DiameterMessage, result: Result, avps: Sequence[Avp] = ()
    ) -> None:
        """Answer a request on the connection it came by, if that is still there."""
        if connection is None or connection is not self._connection:
            return
        is_error = result.is_protocol_error
        session = dictionary.SESSION_ID.find(request.avps)
        application = [] if is_error else application_avps(self._client.application)
        self._transmit(
            request.answer(
                [
                    *([] if session is None else [session]),
                    *application,
                    *result_avps(result),
                    *self._client.node.origin(),
                    *avps,
                    *dictionary.PROXY_INFO.find_all(request.avps),
                ],
                is_error=is_error,
            )
        )

    def _on_malformed(self, message: Malformed) -> None:
        """Refuse a request that cannot be read; an answer that cannot be read is none."""
        header = message.header
        self._log("warning", "diameter-malformed", reason=message.reason, command=header.command)
        if header.is_request:
            self._transmit(header.answer([*result_avps(Result.INVALID_AVP_LENGTH), *self._client.node.origin()]))
        else:
            self._end(header.hop_by_hop, PeerUnavailable(self.name, f"unusable answer: {message.reason}"))

    def _on_usable(self, event: str) -> None:
        self._reason = ""
        self._log("info", event)
        self._client.on_peer_state(self.status())

    def _on_unusable(self, event: str, reason: str, level: str) -> None:
        is_news = reason != self._reason  # a peer that stays away is told once
        self._reason = reason
        self._end_all(reason)
        self._log(level if is_news else "debug", event, reason=reason)
        if is_news:
            self._client.on_peer_state(self.status())

    def _log(self, level: str, event: str, **fields: object) -> None:
        application = self._client.application.name.lower()
        self._client.log.event(level, event, application=application, peer=self.name, **fields)

    def _trace_message(self, direction: str, message: DiameterMessage) -> None:
        summary = command_name(message.command, is_request=message.is_request)
        if not message.is_request:
            try:
                summary = f"{summary} {result_of(message.avps, summary)}"
            except ParseError as error:
                summary = error.reason
        pending = None if message.is_request else self._pending.get(message.hop_by_hop)
        self._trace(direction, summary, None if pending is None else pending[0])

    def _trace(self, direction: str, summary: str, question: DiameterQuestion[Any] | None) -> None:
        if self._client.trace is None or self._connection is None:
            return
        fields: dict[str, str | None] = {}
        if question is not None:
            fields = {"impu": getattr(question, "impu", None), "session_id": question.session_id}
        self._client.trace(
            direction,
            self._client.application.name.lower(),
            peer=(self._settings.address, self._settings.port),
            local=self._connection.local,
            summary=summary,
            fields=fields,
        )


class _Connection(asyncio.Protocol):
    """One TCP connection to a peer."""

    def __init__(self, peer: PeerConnection) -> None:
        self.is_congested = False
        self.local = ("", 0)
        self._peer = peer
        self._decoder = StreamDecoder()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # what create_connection makes
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        self.local = self._transport.get_extra_info("sockname")[:2]
        self._peer.on_connected(self, self.local[0])

    def data_received(self, data: bytes) -> None:
        """Take what came in."""
        self._decoder.receive(data)
        self._peer.on_data(self, self._decoder)

    def connection_lost(self, exc: Exception | None) -> None:
        """End: `exc` is None if the peer closed in order."""
        code = getattr(exc, "errno", None)
        reason = os.strerror(code).lower() if code else "the peer closed the connection"
        self._peer.on_lost(self, reason)

    def pause_writing(self) -> None:
        """Ask and read nothing more until the peer reads."""
        self.is_congested = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.is_congested = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def send(self, data: bytes) -> None:
        """Send a whole message, together with all that is sent in the same turn of the loop: one system call."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > MAX_BATCH_BYTES:
            self._flush()

    def close(self) -> None:
        """Close once all is sent, which a peer that does not read cannot put off for long."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
            if self._transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(DISCONNECT_TIMEOUT_S, self._transport.abort)

    def _flush(self) -> None:
        if self._unsent and self._transport is not None:
            data = b"".join(self._unsent)
            self._unsent.clear()
            self._unsent_bytes = 0
            self._transport.write(data)


def application_avps(application: Application) -> list[Avp]:
    """Write what every Cx message has (TS 29.229 6.1), or every Rx message (TS 29.214 5.6), at its beginning."""
    identifier = dictionary.AUTH_APPLICATION_ID.number(application)
    if application is Application.RX:
        return [identifier]
    return [
        dictionary.VENDOR_SPECIFIC_APPLICATION_ID.group(dictionary.VENDOR_ID.number(TGPP), identifier),
        dictionary.AUTH_SESSION_STATE.number(NO_STATE_MAINTAINED),
    ]
