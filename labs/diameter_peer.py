"""One peer that connected to the lab's HSS or PCRF: the responder's side of RFC 6733 5.3 to 5.6, without sockets.

Bytes in, bytes out; `is_closing` tells the shell to close once those bytes are written. A new connection of the same
Origin-Host takes the place of the old one, so that a node that was killed gets in again at once.
Not covered: election (this side never connects), TLS, relaying.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final, Protocol

from opencscf.common.errors import ParseError
from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Answer, Avp, AvpError, Grammar, Key, Received, ResultCode, make

CAPABILITIES_EXCHANGE: Final = 257
DEVICE_WATCHDOG: Final = 280
DISCONNECT_PEER: Final = 282
REBOOTING: Final = 0  # Disconnect-Cause, RFC 6733 5.4.3
PROXY_INFO: Final = Key(284)

CER_TIMEOUT_S: Final = 10.0
WATCHDOG_S: Final = 30.0  # Tw, RFC 3539 3.4.1

_BASE_GRAMMARS: Final = {
    CAPABILITIES_EXCHANGE: Grammar(
        "CER",
        (codec.ORIGIN_HOST, codec.ORIGIN_REALM, codec.HOST_IP_ADDRESS, codec.VENDOR_ID, codec.PRODUCT_NAME),
        frozenset({codec.ORIGIN_HOST, codec.ORIGIN_REALM}),
    ),
    DEVICE_WATCHDOG: Grammar("DWR", (codec.ORIGIN_HOST, codec.ORIGIN_REALM), frozenset()),
    DISCONNECT_PEER: Grammar(
        "DPR", (codec.ORIGIN_HOST, codec.ORIGIN_REALM, codec.DISCONNECT_CAUSE), frozenset({codec.DISCONNECT_CAUSE})
    ),
}


class Reporter(Protocol):
    """Where events are told; `common.node.log.Log` is one."""

    def event(self, level: str, event: str, **fields: object) -> None:
        """Tell one event."""
        ...


class Application(Protocol):
    """What is served: one Diameter application."""

    application_id: int
    product_name: str
    grammars: dict[int, Grammar]
    answer_avps: tuple[Avp, ...]  # what every answer has between Session-Id and result

    def answer(self, request: Received) -> Answer:
        """Answer a request that follows its grammar; `AvpError` if its values cannot be served."""
        ...

    def commit(self) -> bool:
        """Make durable what the answers since the last call promise; if False, they are not sent."""
        ...


class LocalNode:
    """Who we are, what we serve, and who is connected."""

    def __init__(
        self, application: Application, *, origin_host: str, origin_realm: str, address: str, report: Reporter
    ) -> None:
        self.application = application
        self.origin_host = origin_host
        self.origin_realm = origin_realm
        self.report = report
        self.peers: dict[str, ServedPeer] = {}
        self.results: Counter[str] = Counter()  # by command and result, for the health check
        self.identity: list[Avp] = [
            make(codec.ORIGIN_HOST, origin_host.encode()),
            make(codec.ORIGIN_REALM, origin_realm.encode()),
        ]
        self.capabilities: list[Avp] = [
            make(codec.HOST_IP_ADDRESS, address),
            make(codec.VENDOR_ID, 0),
            make(codec.PRODUCT_NAME, application.product_name),
            make(codec.SUPPORTED_VENDOR_ID, codec.VENDOR_3GPP),
            vendor_specific_application(application.application_id),
        ]

    def answer(self, request: Received) -> bytes:
        """Answer a request of the application, or say why not."""
        name = f"command {request.command}"
        try:
            grammar = self._grammar(request)
            name = grammar.name
            request.check(grammar)
            self._check_destination(request)
            answer = self.application.answer(request)
            avps = [*answer.avps]
        except AvpError as fault:
            self.report.event("warning", "request-refused", command=name, code=fault.result.code, reason=fault.reason)
            answer = Answer(fault.result)
            avps = fault_avps(fault)
        self.results[f"{name} {answer.result}"] += 1
        session = request.all(codec.SESSION_ID)[:1]
        head = [*session, *self.application.answer_avps, codec.make_result(answer.result)]
        tail = request.all(PROXY_INFO)
        return codec.encode(codec.answer_header(request, answer.result), [*head, *self.identity, *avps, *tail])

    def _grammar(self, request: Received) -> Grammar:
        if request.application != self.application.application_id:
            raise AvpError(codec.APPLICATION_UNSUPPORTED, f"application {request.application} is not served")
        grammar = self.application.grammars.get(request.command)
        if grammar is None:
            raise AvpError(codec.COMMAND_UNSUPPORTED, f"command {request.command} is not served")
        return grammar

    def _check_destination(self, request: Received) -> None:
        if request.avps[0].code != codec.SESSION_ID.code:
            raise AvpError(codec.MISSING_AVP, "Session-Id is not the first AVP", request.first(codec.SESSION_ID))
        realm = request.text(codec.DESTINATION_REALM)
        if realm is not None and realm.lower() != self.origin_realm.lower():
            raise AvpError(codec.REALM_NOT_SERVED, f"realm {realm} is not served here")
        host = request.text(codec.DESTINATION_HOST)
        if host is not None and host.lower() != self.origin_host.lower():
            raise AvpError(codec.UNABLE_TO_DELIVER, f"host {host} is not reached from here")


class State(enum.Enum):
    """Where the connection is in the responder's half of RFC 6733 5.6."""

    WAIT_CER = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()


class ServedPeer:
    """One connection, from its first byte to its last."""

    def __init__(self, node: LocalNode, remote: str, now: float) -> None:
        self.remote = remote
        self.origin_host = ""
        self.state = State.WAIT_CER
        self._node = node
        self._buffer = bytearray()
        self._heard_at = now
        self._is_watched = False  # a DWR is on its way
        self._next_id = int(now * 1000) & 0xFFFFFFFF  # End-to-End must be new after a restart (RFC 6733 3)

    @property
    def is_closing(self) -> bool:
        """Tell whether the connection is to be closed."""
        return self.state is State.CLOSING

    def receive(self, data: bytes, now: float) -> bytes:
        """Take what came from the peer and return what to send it."""
        self._heard_at = now
        self._is_watched = False
        self._buffer += data
        output: list[bytes] = []
        try:
            for message in self._frames():
                if self.state is State.CLOSING:
                    break
                output.append(self._on_message(codec.decode(message)))
        except ParseError as fault:
            self.close("warning", fault.reason)
        if not self._node.application.commit():
            self.close("error", "what was asked for could not be stored")
            return b""
        return b"".join(output)

    def tick(self, now: float) -> bytes:
        """Watch the peer: call it every second or so, and send what it returns (RFC 3539 3.4.1)."""
        silence_s = now - self._heard_at
        if self.state is State.WAIT_CER and silence_s >= CER_TIMEOUT_S:
            self.close("warning", "no CER")
        elif self.state is State.OPEN and silence_s >= 2 * WATCHDOG_S:
            self.close("warning", "no answer to the watchdog")
        elif self.state is State.OPEN and silence_s >= WATCHDOG_S and not self._is_watched:
            self._is_watched = True
            return self._request(DEVICE_WATCHDOG, [])
        return b""

    def disconnect(self) -> bytes:
        """Take leave of the peer before a stop; its DPA ends the connection (RFC 6733 5.4)."""
        if self.state is not State.OPEN:
            self.state = State.CLOSING
            return b""
        return self._request(DISCONNECT_PEER, [make(codec.DISCONNECT_CAUSE, REBOOTING)])

    def lost(self, reason: str) -> None:
        """Note that the connection is gone."""
        if self.state is not State.CLOSING:
            self.close("info", reason)
        if self._node.peers.get(self.origin_host) is self:
            del self._node.peers[self.origin_host]

    def _frames(self) -> list[bytes]:
        """Cut whole messages out of the stream; a header that cannot be right ends the connection."""
        frames = []
        position = 0
        while len(self._buffer) - position >= codec.HEADER_BYTES:
            length = int.from_bytes(self._buffer[position + 1 : position + 4], "big")
            if self._buffer[position] != 1:
                raise ParseError("not Diameter version 1")
            if length < codec.HEADER_BYTES or length % 4 or length > codec.MAX_MESSAGE_BYTES:
                raise ParseError(f"message of {length} octets")
            if len(self._buffer) - position < length:
                break
            frames.append(bytes(self._buffer[position : position + length]))
            position += length
        del self._buffer[:position]
        return frames

    def _on_message(self, message: Received) -> bytes:
        if self.state is State.WAIT_CER:
            return self._on_first_message(message)
        if not message.is_request:
            if message.command == DISCONNECT_PEER:
                self.close("info", "we disconnected")
            return b""
        match message.command:
            case 257:
                raise ParseError("second CER on a connection")
            case 280:
                return self._base_answer(message, [])
            case 282:
                answer = self._base_answer(message, [])
                self.close("info", "peer disconnected")
                return answer
            case _:
                return self._node.answer(message)

    def _on_first_message(self, message: Received) -> bytes:
        if message.command != CAPABILITIES_EXCHANGE or not message.is_request:
            raise ParseError("first message is not a CER")
        answer = self._base_answer(message, self._node.capabilities, check=self._check_capabilities)
        if self.state is State.WAIT_CER:  # nothing was wrong with it
            self._open(message.text(codec.ORIGIN_HOST) or "")
        return answer

    def _check_capabilities(self, message: Received) -> None:
        ours = self._node.application.application_id
        offered = {codec.number_of(avp) for avp in message.all(codec.AUTH_APPLICATION_ID)}
        for group in message.groups(codec.VENDOR_SPECIFIC_APPLICATION_ID):
            number = group.number(codec.AUTH_APPLICATION_ID)
            if number is not None:
                offered.add(number)
        if not offered & {ours, codec.RELAY_APPLICATION}:
            raise AvpError(codec.NO_COMMON_APPLICATION, f"peer offers none of application {ours}")

    def _base_answer(self, request: Received, avps: list[Avp], check: Check | None = None) -> bytes:
        result, more = codec.SUCCESS, avps
        try:
            request.check(_BASE_GRAMMARS[request.command])
            request.text(codec.ORIGIN_HOST)
            if check is not None:
                check(request)
        except AvpError as fault:
            result, more = fault.result, [*avps, *fault_avps(fault)]
            if self.state is State.WAIT_CER:
                self.close("warning", fault.reason)
        return codec.encode(
            codec.answer_header(request, result), [codec.make_result(result), *self._node.identity, *more]
        )

    def _open(self, origin_host: str) -> None:
        earlier = self._node.peers.get(origin_host)
        if earlier is not None:
            earlier.close("warning", "its peer connected anew")
        self.state = State.OPEN
        self.origin_host = origin_host
        self._node.peers[origin_host] = self
        self._node.report.event("info", "peer-open", peer=origin_host, remote=self.remote)

    def close(self, level: str, reason: str) -> None:
        """End the connection, and tell why."""
        self.state = State.CLOSING
        self._node.report.event(level, "peer-closed", peer=self.origin_host or None, remote=self.remote, reason=reason)

    def _request(self, command: int, avps: list[Avp]) -> bytes:
        self._next_id = (self._next_id + 1) & 0xFFFFFFFF
        header = codec.request_header(command, self._next_id, self._next_id)
        return codec.encode(header, [*self._node.identity, *avps])


class Check(Protocol):
    """A check beyond a command's grammar."""

    def __call__(self, message: Received, /) -> None:
        """Raise `AvpError` if the message cannot be served."""
        ...


def vendor_specific_application(application_id: int) -> Avp:
    """Make the Vendor-Specific-Application-Id of a 3GPP application (TS 29.229 5.1)."""
    return make(
        codec.VENDOR_SPECIFIC_APPLICATION_ID,
        [make(codec.VENDOR_ID, codec.VENDOR_3GPP), make(codec.AUTH_APPLICATION_ID, application_id)],
    )


def fault_avps(fault: AvpError) -> list[Avp]:
    """Tell the peer what was wrong with its request (RFC 6733 7.3, 7.5)."""
    avps = [make(codec.ERROR_MESSAGE, fault.reason)]
    if fault.avp is not None:
        avps.append(make(codec.FAILED_AVP, [fault.avp]))
    return avps


def result_of(answer: Received) -> ResultCode:
    """Read the result out of an answer, for tools and tests that play the peer."""
    for group in answer.groups(codec.EXPERIMENTAL_RESULT):
        return ResultCode(group.number(codec.EXPERIMENTAL_RESULT_CODE) or 0, group.number(codec.VENDOR_ID) or 0)
    return ResultCode(answer.number(codec.RESULT_CODE) or 0)
