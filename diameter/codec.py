"""Diameter messages and AVPs to and from bytes (RFC 6733 clauses 3 and 4).

A message that comes in is walked over once, at its top level: then its lengths are known to be right, and its AVPs are
found by their codes. An `Avp` is made, and the members of a grouped one are looked at, only for who asks, so that
neither depth nor unread parts cost anything.

Not covered: the P bit of AVPs, which RFC 6733 4.1 reserves and nobody sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812  # it has the name of a variable
from typing import NamedTuple, SupportsIndex, overload

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
    avps: Sequence[Avp] = ()

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
        command, application, flags, hop_by_hop, end_to_end, avps = self
        body = encode_avps(avps)
        return encode_header(command, application, flags, hop_by_hop, end_to_end, len(body)) + body


def encode_header(
    command: int, application: int, flags: int, hop_by_hop: int, end_to_end: int, body_bytes: int
) -> bytes:
    """Write the header of a message whose AVPs take `body_bytes`."""
    length = HEADER_BYTES + body_bytes
    return _HEADER.pack(VERSION << 24 | length, flags << 24 | command, application, hop_by_hop, end_to_end)


def encode_avps(avps: Iterable[Avp]) -> bytes:
    """Write AVPs one after the other, each padded to 32 bits."""
    return b"".join(
        [encode_avp(code, data, vendor, avp_word(vendor, mandatory)) for code, data, vendor, mandatory in avps]
    )


def encode_avp(code: int, data: bytes, vendor: int, word: int) -> bytes:
    """Write one AVP with its padding; `word` comes from `avp_word`."""
    length = len(data)
    if vendor:
        return _VENDOR_AVP_HEADER.pack(code, word + length, vendor) + data + _PADDING[length & 3]
    return _AVP_HEADER.pack(code, word + length) + data + _PADDING[length & 3]


def avp_word(vendor: int, mandatory: bool) -> int:  # noqa: FBT001  # as in an `Avp`
    """Write the flags and length of an AVP without data, the second word of its header."""
    return (_AVP_VENDOR | 12 if vendor else 8) | (_AVP_MANDATORY if mandatory else 0)


class Avps(Sequence[Avp]):
    """AVPs as they came, from `start` to `end` of some octets; the last one may lack its padding."""

    __slots__ = ("_data", "_end", "_first", "_start")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._start = start
        self._end = end = len(data) if end is None else end
        self._first = first = dict[int, int]()  # where the first AVP of each code begins, whatever its vendor
        position, unpack = start, _AVP_HEADER.unpack_from  # this loop is the hot path of every answer
        try:
            for _ in range(MAX_AVPS):
                if position >= end:
                    return
                code, word = unpack(data, position)
                length = word & _LENGTH_MASK
                if length > end - position or (length < 12 and (length < 8 or word & _AVP_VENDOR)):
                    reason = f"AVP {code} has length {length} with {end - position} octets left"
                    raise ParseError(reason, offset=position - start)
                if code not in first:
                    first[code] = position
                position += (length + 3) & ~3
        except StructError:
            raise ParseError("AVP header cut short", offset=position - start) from None
        if position < end:
            raise ParseError(f"more than {MAX_AVPS} AVPs", offset=position - start)

    def octets(self, code: int, vendor: int) -> bytes | None:
        """Return the data of the first AVP of this kind, which is mostly the first one of this code."""
        position, data = self._first.get(code), self._data
        if position is None:
            return None
        _, word = _AVP_HEADER.unpack_from(data, position)
        found, header = (_WORD.unpack_from(data, position + 8)[0], 12) if word & _AVP_VENDOR else (0, 8)
        if found == vendor:
            return data[position + header : position + (word & _LENGTH_MASK)]
        found_later = self.find_all(code, vendor)
        return found_later[0].data if found_later else None

    def find_all(self, code: int, vendor: int) -> list[Avp]:
        """Find every AVP of this kind, in order."""
        found: list[Avp] = []
        position, end, data = self._first.get(code, self._end), self._end, self._data
        while position < end:
            here, word = _AVP_HEADER.unpack_from(data, position)
            if here == code and (avp := self._read(position)).vendor == vendor:
                found.append(avp)
            position += ((word & _LENGTH_MASK) + 3) & ~3
        return found

    def __iter__(self) -> Iterator[Avp]:
        position, end = self._start, self._end
        while position < end:
            yield self._read(position)
            position += (_WORD.unpack_from(self._data, position + 4)[0] & _LENGTH_MASK) + 3 & ~3

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Avp: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Avp, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Avp | tuple[Avp, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # the way to say that there is none

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _read(self, position: int) -> Avp:
        data = self._data
        code, word = _AVP_HEADER.unpack_from(data, position)
        end = position + (word & _LENGTH_MASK)
        mandatory = word & _AVP_MANDATORY != 0
        if word & _AVP_VENDOR:
            return Avp(code, data[position + 12 : end], _WORD.unpack_from(data, position + 8)[0], mandatory)
        return Avp(code, data[position + 8 : end], 0, mandatory)


def decode_avps(data: bytes) -> tuple[Avp, ...]:
    """Read every AVP."""
    return tuple(Avps(data))


def decode(data: bytes) -> DiameterMessage:
    """Read one whole message."""
    if len(data) < HEADER_BYTES:
        raise ParseError("Diameter header cut short")
    length = _checked_length(_WORD.unpack_from(data)[0])
    if length != len(data):
        raise ParseError(f"Diameter message of {len(data)} octets says it has {length}")
    _, word, application, hop_by_hop, end_to_end = _HEADER.unpack_from(data)
    return DiameterMessage(
        word & _LENGTH_MASK, application, word >> 24, hop_by_hop, end_to_end, Avps(data, HEADER_BYTES)
    )


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
    """Cuts a byte stream into messages; after a `ParseError` the stream is lost and must be closed.

    Messages are read where they lie in what came in; only one that comes in pieces is put together first.
    """

    __slots__ = ("_data", "_pieces", "_position", "_wanted")

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._pieces = bytearray()  # of a message that is not there in whole
        self._wanted = 0  # octets that must be there before it is worth another look

    def receive(self, data: bytes) -> None:
        """Take what came from the stream."""
        if self._pieces:
            self._pieces += data
            if len(self._pieces) < self._wanted:
                return
            data = bytes(self._pieces)
            self._pieces = bytearray()
        elif self._position < len(self._data):  # nobody has asked for all that came before
            data = self._data[self._position :] + data
        self._data, self._position = data, 0

    def next_message(self) -> DiameterMessage | Malformed | None:
        """Read the next message, or None until more has come."""
        data, start = self._data, self._position
        available = len(data) - start
        if available < HEADER_BYTES:
            self._wait_for_header(available)
            return None
        first, second, application, hop_by_hop, end_to_end = _HEADER.unpack_from(data, start)
        length = _checked_length(first)
        if available < length:
            self._wait_for(length)
            return None
        self._position = end = start + length
        command, flags = second & _LENGTH_MASK, second >> 24
        try:
            avps = Avps(data, start + HEADER_BYTES, end)
        except ParseError as error:
            return Malformed(DiameterMessage(command, application, flags, hop_by_hop, end_to_end), error.reason)
        # A third of the time that the class's own way takes.
        return tuple.__new__(DiameterMessage, (command, application, flags, hop_by_hop, end_to_end, avps))

    def _wait_for_header(self, available: int) -> None:
        """Wait, unless it is clear already that there is no message."""
        if available >= 4:
            self._wait_for(_checked_length(_WORD.unpack_from(self._data, self._position)[0]))
        elif available and self._data[self._position] != VERSION:
            raise ParseError(f"Diameter version {self._data[self._position]}", offset=0)
        else:
            self._wait_for(4)

    def _wait_for(self, octets: int) -> None:
        if self._data:
            self._pieces, self._wanted = bytearray(self._data[self._position :]), octets
            self._data, self._position = b"", 0
