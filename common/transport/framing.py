"""What stands between the bytes of a connection and its SIP messages.

A layer has opened before messages pass, may say things by itself (`output`), and is over when either side ended it. The
layer for plain streams is here (RFC 3261 18.3), the one for WebSocket in `websocket.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from opencscf.common.sip.parser import StreamParser

if TYPE_CHECKING:
    from opencscf.common.sip.parser import Item


class Framing(Protocol):
    """How one connection carries messages; no method raises anything but `FramingLost`."""

    fault: str  # why it is over, "" if in peace or not at all

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether nothing will pass any more, so that the connection is to be closed."""
        ...

    @property
    def is_partial(self) -> bool:
        """Whether a message has begun and not ended."""
        ...

    def feed(self, data: bytes) -> list[Item]:
        """Take what was received and return what it completes."""
        ...

    def frame(self, message: bytes) -> bytes:
        """Return the bytes that carry a message, or the answer to a ping."""
        ...

    def output(self) -> bytes:
        """Return what the layer itself has to say since the last call."""
        ...

    def ping(self) -> bytes:
        """Return the bytes that make a living peer answer; none if there are no such."""
        ...

    def end(self) -> bytes:
        """Return how to take leave."""
        ...


class SipFraming:
    """Messages one after the other, cut by their Content-Length (18.3)."""

    __slots__ = ("_parser",)

    fault = ""
    is_open = True
    is_over = False

    def __init__(self) -> None:
        self._parser = StreamParser()

    @property
    def is_partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._parser.is_partial

    def feed(self, data: bytes) -> list[Item]:
        """Take what was received and return the messages that are complete; FramingLost if that cannot be known."""
        return self._parser.feed(data)

    def frame(self, message: bytes) -> bytes:
        """Return a message as it is."""
        return message

    def output(self) -> bytes:
        """Return nothing."""
        return b""

    ping = end = output
