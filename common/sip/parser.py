"""Bytes to messages: datagrams and streams (RFC 3261 7, 18.3, 18.4; keep-alives of RFC 5626 3.5.1).

A line ends with CRLF only: a bare CR or LF is refused, for the next hop might take it for a line end that we did not
see. Not covered: tolerance of RFC 2543 messages without CRLF.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple, TypeAlias

from opencscf.common.errors import ParseError
from opencscf.common.sip.head import ENCODING, ERRORS, scanner
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.names import KNOWN, METHODS, canonical_name
from opencscf.common.sip.params import TOKEN_CHARS, is_token

MAX_MESSAGE_BYTES: Final = 65_535
MAX_HEADERS: Final = 200
MAX_LINE: Final = 8192  # characters, folded lines counted as one

_MANDATORY: Final = frozenset({"via", "from", "to", "call-id", "cseq"})  # 8.1.1; Max-Forwards may be missing, 16.3
_SINGLE: Final = frozenset(
    {"from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "expires"}
)  # 7.3.1

_PING: Final = b"\r\n\r\n"
_LINE_END: Final = re.compile(r"\r\n(?![ \t])")  # what follows a fold belongs to the line
_FOLD: Final = re.compile(r"\r\n[ \t]")
_LINE_ENDS: Final = re.compile(r"[\r\n\0]")
_BARE_NUL: Final = re.compile(r"(?<!\\)\0")  # 25.1 has NUL in a quoted-pair only
_VERSION: Final = r"([Ss][Ii][Pp]/[0-9]++\.[0-9]++)"  # 7.1: in any case
_REQUEST_LINE: Final = re.compile(rf"([{TOKEN_CHARS}]++) ([A-Za-z][A-Za-z0-9+.\-]*+:[!#-;=?-~]++) {_VERSION}")
_STATUS_LINE: Final = re.compile(rf"{_VERSION} ([1-6][0-9][0-9])(?: ([^\r\n]*+))?")


class KeepAlive(enum.Enum):
    """The double CRLF with which a client pings over a stream; its answer is one CRLF (RFC 5626 3.5.1)."""

    PING = enum.auto()


KEEPALIVE: Final = KeepAlive.PING


class Malformed(NamedTuple):
    """A message on a stream that cannot be used, though its end is known, so that the stream goes on."""

    data: bytes
    error: ParseError


Item: TypeAlias = Request | Response | KeepAlive | Malformed  # what a stream is made of


class FramingLost(ParseError):  # noqa: N818 - what happened to the stream
    """The end of a message on a stream cannot be known: `data` is what cannot be cut, `items` what came before."""

    def __init__(self, fault: ParseError, data: bytes, items: list[Item]) -> None:
        super().__init__(fault.reason, status=fault.status, offset=fault.offset)
        self.data = data
        self.items = items


def parse(data: bytes, *, datagram: bool = True) -> Request | Response:
    """Read one message; a body longer than Content-Length is cut in a datagram and a fault elsewhere (18.3)."""
    if scanner is not None:
        message: Request | Response = scanner.parse(data, datagram, Request, Response)
        return message
    return _parse(data, datagram=datagram)


def _parse(data: bytes, *, datagram: bool) -> Request | Response:
    if len(data) > MAX_MESSAGE_BYTES:
        raise ParseError("the message is too large", status=513)
    start = 0
    while data.startswith(b"\r\n", start):  # 7.5
        start += 2
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        raise ParseError("no empty line after the header fields", offset=len(data))
    message, length = _parse_head(data[start:end])
    body = data[end + 4 :]
    if length is not None and length != len(body):
        if length > len(body):
            raise ParseError("the body is shorter than Content-Length says", offset=len(data))
        if not datagram:
            raise ParseError("the body is longer than Content-Length says", offset=end + 4 + length)
        body = body[:length]
    message.body = body
    return message


def parse_for_rejection(data: bytes) -> Request | None:
    """Read of a request that `parse` refused what an answer can be made of; None if it gets none.

    Only the header fields that go into a response are in it (8.2.6), as they came: any may be malformed, and all but
    Via may be missing. No ACK is ever answered.
    """
    head = data[:MAX_MESSAGE_BYTES].lstrip(b"\r\n").partition(b"\r\n\r\n")[0]
    start, *lines = _LINE_END.split(head.decode(ENCODING, ERRORS))
    method, _, rest = start.partition(" ")
    if not is_token(method) or method == "ACK" or _LINE_ENDS.search(start):
        return None
    found: list[str] = []
    names: list[str] = []
    for line in lines[:MAX_HEADERS]:
        name = _name_or_none(line)
        if name in _MANDATORY and (name == "via" or name not in names):
            found.append(line)
            names.append(name)
    if "via" not in names:
        return None
    return Request.of_lines(method, rest.rpartition(" ")[0] or rest, start, found)


class StreamParser:
    """Cuts a stream into messages by their Content-Length (18.3)."""

    __slots__ = ("_buffer", "_pending", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # how far the buffer is known to hold no end of a head
        self._pending: _Pending | None = None

    @property
    def is_partial(self) -> bool:
        """Whether a message has begun and not ended; line ends before one are no beginning."""
        return not _PING.startswith(self._buffer)

    def feed(self, data: bytes) -> list[Item]:
        """Take the next bytes and give back what they complete.

        FramingLost means that the end of a message cannot be known: close the connection.
        """
        self._buffer += data
        items: list[Item] = []
        try:
            while (item := self._next()) is not None:
                items.append(item)
        except ParseError as fault:
            raise FramingLost(fault, bytes(self._buffer), items) from None
        return items

    def _next(self) -> Item | None:
        pending = self._pending
        if pending is None:
            if self._takes_keepalive():
                return KEEPALIVE
            pending = self._pending = self._take_head()
        if pending is None or len(self._buffer) < pending.total:
            return None
        data = bytes(self._buffer[: pending.total])
        del self._buffer[: pending.total]
        self._pending, self._searched = None, 0
        if isinstance(pending.outcome, ParseError):
            return Malformed(data, pending.outcome)
        pending.outcome.body = data[pending.body_at :]
        return pending.outcome

    def _takes_keepalive(self) -> bool:
        """Take line ends off the front, up to a ping; whether there was one."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            if buffer.startswith(_PING):
                del buffer[:4]
                return True
            if _PING.startswith(buffer):
                break  # the rest of a ping may follow
            del buffer[:2]  # 7.5
        return False

    def _take_head(self) -> _Pending | None:
        """Read the header fields of the next message once all are there."""
        end = self._buffer.find(b"\r\n\r\n", self._searched)
        if end < 0 or _PING.startswith(self._buffer):
            self._searched = max(len(self._buffer) - 3, 0)
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                raise ParseError("the message is too large", status=513)
            return None
        head = bytes(self._buffer[:end])
        outcome: Request | Response | ParseError
        try:
            outcome, length = _parse_head(head)
        except ParseError as error:
            outcome, length = error, _length_of_malformed(head)
            if length is None:
                raise
        if length is None:
            raise ParseError("no Content-Length on a stream")
        if end + 4 + length > MAX_MESSAGE_BYTES:
            raise ParseError("the message is too large", status=513)
        return _Pending(outcome, end + 4, end + 4 + length)


class _Pending(NamedTuple):
    """A message on a stream whose head was read; its body may still be on the way."""

    outcome: Request | Response | ParseError
    body_at: int
    total: int


def _parse_head(head: bytes) -> tuple[Request | Response, int | None]:
    """Read start line and header fields; the number is what Content-Length says."""
    if scanner is not None:
        found: tuple[Request | Response, int | None] = scanner.parse_head(head, Request, Response)
        return found
    text = head.decode(ENCODING, ERRORS)
    start, *lines = text.split("\r\n")
    if text.count("\r") != len(lines) or text.count("\n") != len(lines):
        raise ParseError("a bare CR or LF in the header fields")
    if "\0" in text and _BARE_NUL.search(text):
        raise ParseError("a NUL in the header fields")
    try:
        names = [KNOWN[line.partition(":")[0]] for line in lines if ":" in line]
    except KeyError:
        names = []
    if len(names) < len(lines):  # a name that is seldom seen, a folded line, or a fault
        start, *lines = _LINE_END.split(text)
        names = [_name(line) for line in lines]
    if len(lines) > MAX_HEADERS:
        raise ParseError("too many header fields", status=513)
    if len(text) > MAX_LINE and max(map(len, (start, *lines))) > MAX_LINE:
        raise ParseError("a line is too long", status=513)
    _check_names(names)
    message = _of_start_line(start, lines, names)
    if isinstance(message, Request) and message.cseq.method != message.method:
        status = 400 if message.method in METHODS else 501  # RFC 4475 3.1.2.18
        raise ParseError("the CSeq method is not the request's", status=status)
    length = message.get("content-length")
    return message, _content_length(length) if length is not None else None


def _of_start_line(start: str, lines: list[str], names: list[str]) -> Request | Response:
    if start[:4].lower() == "sip/":  # in any case; no character but these becomes one of them in lower case
        status_line = _STATUS_LINE.fullmatch(start)
        if status_line is None:
            raise ParseError("malformed status line")
        version, status, reason = status_line.groups()
        _check_version(version)
        return Response.of_lines(int(status), reason or "", start, lines, names)
    request_line = _REQUEST_LINE.fullmatch(start)
    if request_line is None:
        raise ParseError("malformed request line")
    method, uri, version = request_line.groups()
    _check_version(version)
    return Request.of_lines(method, uri, start, lines, names)


def _check_version(version: str) -> None:
    if version != "SIP/2.0" and version.upper() != "SIP/2.0":
        raise ParseError("the SIP version is not 2.0", status=505)


def _check_names(names: list[str]) -> None:
    distinct = set(names)
    if not distinct >= _MANDATORY:
        raise ParseError(f"no {min(_MANDATORY - distinct)} header field")
    if len(distinct) != len(names):
        single = [name for name in names if name in _SINGLE]
        if len(single) != len(set(single)):
            raise ParseError("a header field that may come once came more often")


def _name(line: str) -> str:
    name, colon, _ = line.partition(":")
    if not colon:
        raise ParseError("a header field without a colon")
    return canonical_name(name)


def _name_or_none(line: str) -> str | None:
    try:
        return None if _LINE_ENDS.search(_FOLD.sub("", line)) else _name(line)
    except ParseError:
        return None


def _content_length(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise ParseError("malformed Content-Length")
    return int(text)


def _length_of_malformed(head: bytes) -> int | None:
    """Return what Content-Length says in a head that cannot be used otherwise, if that is beyond doubt."""
    lines = _LINE_END.split(head.decode(ENCODING, ERRORS))[1:]
    values = [line.partition(":")[2].strip(" \t\r\n") for line in lines if _name_or_none(line) == "content-length"]
    try:
        return _content_length(values[0]) if len(values) == 1 else None
    except ParseError:
        return None
