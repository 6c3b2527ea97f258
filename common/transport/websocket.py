"""Shell: SIP over WebSocket, the server's side (RFC 7118, RFC 6455), on the `websockets` library without its I/O.

One message of SIP is one message of WebSocket, text or binary. Nobody can be connected to: a request for a client goes
over the connection that the client made, or nowhere (RFC 7118 5). Compression is not negotiated, so that no small frame
becomes a large message. Clause numbers below are of RFC 7118.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as HttpRequest
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from opencscf.common.errors import ParseError
from opencscf.common.sip.parser import KEEPALIVE, MAX_MESSAGE_BYTES, Malformed, parse

if TYPE_CHECKING:
    from collections.abc import Collection

    from opencscf.common.sip.parser import Item

SUBPROTOCOL: Final = Subprotocol("sip")  # 4.1
ANY_ORIGIN: Final = "*"
MAX_HANDSHAKE_BYTES: Final = 16_384
_PING: Final = b"\r\n\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})

_silent = logging.getLogger(__name__)
_silent.disabled = True  # what happens is told by `fault`, with the peer's name


class WebSocketFraming:
    """One client's WebSocket, from the HTTP request that opens it; `origins` are the web pages that may open one."""

    __slots__ = ("_handshake_bytes", "_is_text", "_message", "_protocol", "_tail", "fault")

    def __init__(self, origins: Collection[str]) -> None:
        allowed = None if ANY_ORIGIN in origins else [None, *map(Origin, origins)]  # None: it is no browser
        self._protocol = ServerProtocol(
            origins=allowed, subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE_BYTES, logger=_silent
        )
        self._handshake_bytes = 0
        self._tail = b""  # of the handshake so far, in which its end may have begun
        self._message: bytearray | None = None  # of which not all frames are there
        self._is_text = False
        self.fault = ""

    @property
    def is_open(self) -> bool:
        """Whether the handshake has succeeded and nobody has ended the connection."""
        return self._protocol.state is State.OPEN

    @property
    def is_over(self) -> bool:
        """Whether the handshake has failed or somebody has ended the connection."""
        return self.fault != "" or self._protocol.close_expected()

    @property
    def is_partial(self) -> bool:
        """Whether a message lacks frames, or a frame its end."""
        return self._message is not None or bool(self._protocol.reader.buffer)

    def feed(self, data: bytes) -> list[Item]:
        """Take what was received; answer handshake, pings and close; return the messages that are complete."""
        items: list[Item] = []
        while data and not self.is_over:
            # The library would read what comes behind the handshake before it is accepted.
            length = self._handshake_length(data) if self._protocol.state is State.CONNECTING else len(data)
            items += self._receive(data[:length])
            data = data[length:]
        return items

    def _handshake_length(self, data: bytes) -> int:
        """Tell how much belongs to the HTTP request."""
        self._handshake_bytes += len(data)
        if self._handshake_bytes > MAX_HANDSHAKE_BYTES:
            self.fault = "the WebSocket handshake is too long"
        seen = self._tail + data
        end = seen.find(_HEAD_END)
        self._tail = seen[-3:] if end < 0 else b""
        return len(data) if end < 0 else end + len(_HEAD_END) - (len(seen) - len(data))

    def _receive(self, data: bytes) -> list[Item]:
        protocol = self._protocol
        protocol.receive_data(data)
        items: list[Item] = []
        for event in protocol.events_received():
            if isinstance(event, HttpRequest):
                protocol.send_response(protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode in _DATA and not self.fault:
                items += self._take(event)
        self._note_fault()
        return items

    def frame(self, message: bytes) -> bytes:
        """Return a message, as text where it can be one, since scripts read that more easily; nothing once over."""
        if not self.is_open:
            return b""
        if message.isascii() or _is_utf8(message):
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        return self.output()

    def output(self) -> bytes:
        """Return the handshake's answer, pongs and close frames that wait to be sent."""
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> bytes:
        """Return a ping (6)."""
        if not self.is_open:
            return b""
        self._protocol.send_ping(b"")
        return self.output()

    def end(self) -> bytes:
        """Return a close frame, if the connection is open."""
        if not self.is_open:
            return b""
        self._protocol.send_close(CloseCode.GOING_AWAY)
        return self.output()

    def _take(self, frame: Frame) -> list[Item]:
        """Add a frame to its message, and return that if it was the last one."""
        if frame.opcode is not Opcode.CONT:
            self._message = bytearray()
            self._is_text = frame.opcode is Opcode.TEXT
        message = cast("bytearray", self._message)  # the library has checked the order
        message += frame.data
        if not frame.fin:
            return []
        self._message = None
        data = bytes(message)
        if self._is_text and not _is_utf8(data):
            self.fault = "a text that is not UTF-8"
            self._protocol.fail(CloseCode.INVALID_DATA, self.fault)  # RFC 6455 8.1
            return []
        if not data.strip(b"\r\n"):
            return [KEEPALIVE] if data == _PING else []  # RFC 5626 3.5.1, which some scripts use here too
        try:
            return [parse(data, datagram=False)]
        except ParseError as error:
            return [Malformed(data, error)]

    def _note_fault(self) -> None:
        error = self._protocol.handshake_exc or self._protocol.parser_exc
        if error is not None and not self.fault:
            self.fault = f"WebSocket: {error}"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
