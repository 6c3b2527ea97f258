"""Diameter messages and AVPs to and from bytes (RFC 6733 clauses 3 and 4).

A message decodes its top level only; the members of a grouped AVP are decoded when somebody asks for them, one level
per call, so that neither depth nor unread parts cost anything. Both are tuples, because many are made per message.

Not covered: the P bit of AVPs, which RFC 6733 4.1 reserves and nobody sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from opencscf.common.errors import ParseError

VERSION = 1
HEADER_BYTES = 20
MAX_MESSAGE_BYTES = 1 << 20
MAX_AVPS = 4096  # in one message or one group

REQUEST = 0x80  # command flags, RFC 6733 3
PROXIABLE = 0x40
ERROR = 0x20
RETRANSMIT = 0x10

_LENGTH_MASK = 0xFFFFFF
_AVP_VENDOR = 0x80 << 24  # AVP flags as they stand in the word they share with the length, RFC 6733 4.1
_AVP_MANDATORY = 0x40 << 24

_HEADER = Struct("!IIIII")
_AVP_HEADER = Struct("!II")
_VENDOR_AVP_HEADER = Struct("!III")
_WORD = Struct("!I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Avp(NamedTuple):
    """One attribute-value pair; its value stays octets, which `dictionary` knows how to read."""

    code: int
    data: bytes
    vendor: int = 0
    mandatory: bool = True

    @property
    def members(self) -> tuple[Avp, ...]:
        """The AVPs inside a grouped one."""
        return decode_avps(self.data)

    def encode(self) -> bytes:
        """Write the AVP with its padding."""
        return encode_avps((self,))

    def __repr__(self) -> str:  # never the data: it may be a key
        return f"Avp(code={self.code}, vendor={self.vendor}, {len(self.data)} octets)"


class DiameterMessage(NamedTuple):
    """A request or an answer."""

    command: int
    application: int
    flags: int
    hop_by_hop: int
    end_to_end: int
    avps: tuple[Avp, ...] = ()

    @property
    def is_request(self) -> bool:
        """Whether this is a request."""
        return bool(self.flags & REQUEST)

    @property
    def is_proxiable(self) -> bool:
        """Whether a proxy may handle it (P bit)."""
        return bool(self.flags & PROXIABLE)

    @property
    def is_error(self) -> bool:
        """Whether an answer reports a protocol error (E bit)."""
        return bool(self.flags & ERROR)

    @property
    def is_retransmit(self) -> bool:
        """Whether it may have been sent before (T bit)."""
        return bool(self.flags & RETRANSMIT)

    def answer(self, avps: Iterable[Avp], *, is_error: bool = False) -> DiameterMessage:
        """Make the answer to this request (6.2): same identifiers, command, application and P bit."""
        flags = self.flags & PROXIABLE | (ERROR if is_error else 0)
        return DiameterMessage(self.command, self.application, flags, self.hop_by_hop, self.end_to_end, tuple(avps))

    def encode(self) -> bytes:
        """Write the message."""
        body = encode_avps(self.avps)
        return encode_header(self, len(body)) + body


def encode_header(message: DiameterMessage, body_bytes: int) -> bytes:
    """Write the header of a message whose AVPs take `body_bytes`."""
    return _HEADER.pack(
        VERSION << 24 | (HEADER_BYTES + body_bytes),
        message.flags << 24 | message.command,
        message.application,
        message.hop_by_hop,
        message.end_to_end,
    )


def encode_avps(avps: Iterable[Avp]) -> bytes:
    """Write AVPs one after the other, each padded to 32 bits."""
    parts: list[bytes] = []
    for code, data, vendor, mandatory in avps:
        flags = _AVP_MANDATORY if mandatory else 0
        length = len(data)
        if vendor:
            parts.append(_VENDOR_AVP_HEADER.pack(code, _AVP_VENDOR | flags | (length + 12), vendor))
        else:
            parts.append(_AVP_HEADER.pack(code, flags | (length + 8)))
        parts.append(data)
        if length & 3:
            parts.append(_PADDING[length & 3])
    return b"".join(parts)


def decode_avps(data: bytes, position: int = 0) -> tuple[Avp, ...]:
    """Read AVPs from `position` to the end; the last one may lack its padding."""
    end = len(data)
    avps: list[Avp] = []
    new, unpack = tuple.__new__, _AVP_HEADER.unpack_from  # the hot path of every answer
    while position < end:
        if end - position < 8:
            raise ParseError("AVP header cut short", offset=position)
        code, word = unpack(data, position)
        length = word & _LENGTH_MASK
        header = 12 if word & _AVP_VENDOR else 8
        if not header <= length <= end - position:
            raise ParseError(f"AVP {code} has length {length} with {end - position} octets left", offset=position)
        vendor = _WORD.unpack_from(data, position + 8)[0] if header == 12 else 0
        value = data[position + header : position + length]
        avps.append(new(Avp, (code, value, vendor, word & _AVP_MANDATORY != 0)))
        if len(avps) > MAX_AVPS:
            raise ParseError(f"more than {MAX_AVPS} AVPs", offset=position)
        position += (length + 3) & ~3
    return tuple(avps)


def decode(data: bytes) -> DiameterMessage:
    """Read one whole message."""
    return DiameterMessage(*_decode_header(data), decode_avps(data, HEADER_BYTES))


def _decode_header(data: bytes) -> tuple[int, int, int, int, int]:
    if len(data) < HEADER_BYTES:
        raise ParseError("Diameter header cut short")
    first, second, application, hop_by_hop, end_to_end = _HEADER.unpack_from(data)
    length = _checked_length(first)
    if length != len(data):
        raise ParseError(f"Diameter message of {len(data)} octets says it has {length}")
    return second & _LENGTH_MASK, application, second >> 24, hop_by_hop, end_to_end


def _checked_length(word: int) -> int:
    """Read version and length, the first word of a message; a stream that fails here has lost its framing."""
    if word >> 24 != VERSION:
        raise ParseError(f"Diameter version {word >> 24}", offset=0)
    length = word & _LENGTH_MASK
    if length < HEADER_BYTES or length & 3:
        raise ParseError(f"Diameter message length {length}", offset=1)
    if length > MAX_MESSAGE_BYTES:
        raise ParseError(f"Diameter message of {length} octets, at most {MAX_MESSAGE_BYTES} are read", offset=1)
    return length


class Malformed(NamedTuple):
    """A message whose AVPs cannot be read; the stream goes on behind it."""

    header: DiameterMessage
    reason: str


class StreamDecoder:
    """Cuts a byte stream into messages; after a `ParseError` the stream is lost and must be closed."""

    __slots__ = ("_buffer", "_position")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0

    def receive(self, data: bytes) -> None:
        """Take what came from the stream."""
        self._buffer += data

    def next_message(self) -> DiameterMessage | Malformed | None:
        """Read the next message, or None until more has come."""
        start = self._position
        available = len(self._buffer) - start
        if available >= 4:
            length = _checked_length(_WORD.unpack_from(self._buffer, start)[0])
            if available >= length:
                self._position = start + length
                return self._decode(bytes(memoryview(self._buffer)[start : start + length]))
        elif available and self._buffer[start] != VERSION:
            raise ParseError(f"Diameter version {self._buffer[start]}", offset=0)
        del self._buffer[:start]
        self._position = 0
        return None

    @staticmethod
    def _decode(data: bytes) -> DiameterMessage | Malformed:
        try:
            return decode(data)
        except ParseError as error:
            return Malformed(DiameterMessage(*_decode_header(data)), error.reason)
