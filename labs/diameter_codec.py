"""Diameter messages of the lab's HSS and PCRF, on python-diameter's codec.

The nodes under test have a codec of their own, so that in every run of the lab two independent codecs meet. Checks are
those of a strict peer (RFC 6733 7.1.5): lengths, unknown mandatory AVPs, missing and repeated AVPs. python-diameter's
typed Cx and Rx commands are not used, since they differ from TS 29.229 and TS 29.214.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

# The library has no type information: its classes and functions are Any to the type checker.
from diameter.message import Message, MessageHeader  # type: ignore[import-untyped]
from diameter.message.avp import Avp  # type: ignore[import-untyped]
from diameter.message.avp.avp import get_avp_dictionary_entry  # type: ignore[import-untyped]
from diameter.message.avp.errors import AvpDecodeError  # type: ignore[import-untyped]
from diameter.message.packer import ConversionError, Unpacker  # type: ignore[import-untyped]

from opencscf.common.errors import ParseError

__all__ = ["Avp", "MessageHeader"]  # the library's own, for the users of this module

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_AVPS: Final = 1000
HEADER_BYTES: Final = 20
VENDOR_3GPP: Final = 10415
CX_APPLICATION: Final = 16777216
RX_APPLICATION: Final = 16777236
RELAY_APPLICATION: Final = 0xFFFFFFFF


class Key(NamedTuple):
    """What tells one AVP from another."""

    code: int
    vendor: int = 0


class ResultCode(NamedTuple):
    """A Result-Code, or with a vendor an Experimental-Result."""

    code: int
    vendor: int = 0

    def __str__(self) -> str:
        return str(self.code) if self.vendor == 0 else f"experimental-{self.code}"

    @property
    def is_protocol_error(self) -> bool:
        """Tell whether the answer has the E bit (RFC 6733 7.1.3)."""
        return self.vendor == 0 and 3000 <= self.code < 4000


SUCCESS: Final = ResultCode(2001)
COMMAND_UNSUPPORTED: Final = ResultCode(3001)
UNABLE_TO_DELIVER: Final = ResultCode(3002)
REALM_NOT_SERVED: Final = ResultCode(3003)
APPLICATION_UNSUPPORTED: Final = ResultCode(3007)
AVP_UNSUPPORTED: Final = ResultCode(5001)
UNKNOWN_SESSION_ID: Final = ResultCode(5002)
AUTHORIZATION_REJECTED: Final = ResultCode(5003)
INVALID_AVP_VALUE: Final = ResultCode(5004)
MISSING_AVP: Final = ResultCode(5005)
AVP_OCCURS_TOO_MANY_TIMES: Final = ResultCode(5009)
NO_COMMON_APPLICATION: Final = ResultCode(5010)
UNABLE_TO_COMPLY: Final = ResultCode(5012)
INVALID_AVP_LENGTH: Final = ResultCode(5014)

USER_NAME: Final = Key(1)
HOST_IP_ADDRESS: Final = Key(257)
AUTH_APPLICATION_ID: Final = Key(258)
VENDOR_SPECIFIC_APPLICATION_ID: Final = Key(260)
SESSION_ID: Final = Key(263)
ORIGIN_HOST: Final = Key(264)
SUPPORTED_VENDOR_ID: Final = Key(265)
VENDOR_ID: Final = Key(266)
RESULT_CODE: Final = Key(268)
PRODUCT_NAME: Final = Key(269)
DISCONNECT_CAUSE: Final = Key(273)
AUTH_SESSION_STATE: Final = Key(277)
FAILED_AVP: Final = Key(279)
ERROR_MESSAGE: Final = Key(281)
DESTINATION_REALM: Final = Key(283)
DESTINATION_HOST: Final = Key(293)
ORIGIN_REALM: Final = Key(296)
EXPERIMENTAL_RESULT: Final = Key(297)
EXPERIMENTAL_RESULT_CODE: Final = Key(298)

_NOT_MANDATORY: Final = frozenset({PRODUCT_NAME, ERROR_MESSAGE})  # RFC 6733 5.3.7, 7.3


class AvpError(ParseError):
    """A request cannot be served as it stands; the answer has this result and shows the AVP at fault (RFC 6733 7.5)."""

    def __init__(self, result: ResultCode, reason: str, avp: Avp | None = None) -> None:
        super().__init__(reason)
        self.result = result
        self.avp = avp


@dataclass(frozen=True, slots=True)
class Grammar:
    """Which AVPs a command must have, and which it may have only once; all others are free."""

    name: str
    required: tuple[Key, ...]
    single: frozenset[Key]


class Members:
    """The AVPs of a message or of a group, found by key."""

    __slots__ = ("_by_key",)

    def __init__(self, avps: list[Avp]) -> None:
        by_key: dict[tuple[int, int], list[Avp]] = {}
        for avp in avps:
            by_key.setdefault((avp.code, avp.vendor_id), []).append(avp)
        self._by_key = by_key

    def everything(self) -> list[Avp]:
        """Return every AVP, those of one key together."""
        return [avp for avps in self._by_key.values() for avp in avps]

    def all(self, key: Key) -> list[Avp]:
        """Return every AVP of that key, in order."""
        return self._by_key.get(key, [])

    def first(self, key: Key) -> Avp | None:
        """Return the first AVP of that key."""
        found = self._by_key.get(key)
        return found[0] if found else None

    def required(self, key: Key) -> Avp:
        """Return the first AVP of that key, which must be there."""
        found = self._by_key.get(key)
        if not found:
            raise missing(key)
        return found[0]

    def text(self, key: Key) -> str | None:
        """Return the first such AVP's text, whatever its type in the dictionary."""
        avp = self.first(key)
        return None if avp is None else text_of(avp)

    def number(self, key: Key) -> int | None:
        """Return the first such AVP's number."""
        avp = self.first(key)
        return None if avp is None else number_of(avp)

    def octets(self, key: Key) -> bytes | None:
        """Return the first such AVP's octets."""
        avp = self.first(key)
        return None if avp is None else bytes(avp.payload)

    def groups(self, key: Key) -> list[Members]:
        """Return the members of every such grouped AVP."""
        return [group_of(avp) for avp in self.all(key)]


class Received(Members):
    """A message from a peer, as far as it could be decoded."""

    __slots__ = ("application", "avps", "command", "fault", "header", "is_request")

    def __init__(self, header: MessageHeader, avps: list[Avp], fault: AvpError | None) -> None:
        super().__init__(avps)
        self.header = header
        self.avps = avps
        self.fault = fault
        self.command: int = header.command_code
        self.application: int = header.application_id
        self.is_request: bool = header.is_request

    def check(self, grammar: Grammar) -> None:
        """Raise `AvpError` if the message was not wholly decoded, or does not follow its grammar."""
        if self.fault is not None:
            raise self.fault
        for key in grammar.required:
            if key not in self._by_key:
                raise missing(key)
        for key in grammar.single:
            found = self._by_key.get(key)
            if found is not None and len(found) > 1:
                raise AvpError(AVP_OCCURS_TOO_MANY_TIMES, f"{found[1].name} occurs {len(found)} times", found[1])


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application answers; the server adds the AVPs that every answer has."""

    result: ResultCode
    avps: tuple[Avp, ...] = ()


def make(key: Key, value: object, *, mandatory: bool | None = None) -> Avp:
    """Make an AVP; `mandatory` sets the M bit of those that must not have it against the library's dictionary."""
    if mandatory is None and key in _NOT_MANDATORY:
        mandatory = False
    return Avp.new(key.code, key.vendor, value=value, is_mandatory=mandatory)


def make_result(result: ResultCode) -> Avp:
    """Make Result-Code or Experimental-Result (TS 29.229 6.2)."""
    if result.vendor == 0:
        return make(RESULT_CODE, result.code)
    return make(EXPERIMENTAL_RESULT, [make(VENDOR_ID, result.vendor), make(EXPERIMENTAL_RESULT_CODE, result.code)])


def missing(key: Key) -> AvpError:
    """Build the fault of a missing AVP: Failed-AVP shows one of least size (RFC 6733 7.5)."""
    entry = get_avp_dictionary_entry(key.code, key.vendor) or {}
    kind = getattr(entry.get("type"), "__name__", "")
    size = 8 if kind.endswith("64") else 4 if kind.endswith("32") else 0
    avp = Avp(key.code, key.vendor, payload=bytes(size), flags=Avp.avp_flag_mandatory)
    return AvpError(MISSING_AVP, f"{entry.get('name', key.code)} is missing", avp)


def text_of(avp: Avp) -> str:
    """Read an AVP as UTF-8 text without control characters; identities and URIs are octets in the dictionary."""
    try:
        text = bytes(avp.payload).decode()
    except UnicodeDecodeError:
        raise AvpError(INVALID_AVP_VALUE, f"{avp.name} is not UTF-8", avp) from None
    if not text.isprintable():
        raise AvpError(INVALID_AVP_VALUE, f"{avp.name} has control characters", avp)
    return text


def number_of(avp: Avp) -> int:
    """Read an AVP as a 32-bit number; enumerations and unsigned numbers look alike on the wire."""
    if len(avp.payload) != 4:
        raise AvpError(INVALID_AVP_LENGTH, f"{avp.name} is not a number of 4 octets", avp)
    return int.from_bytes(avp.payload, "big")


def group_of(avp: Avp) -> Members:
    """Read a grouped AVP."""
    try:
        members = avp.value
    except (AvpDecodeError, ConversionError):
        raise AvpError(INVALID_AVP_LENGTH, f"{avp.name} has a member of a wrong length", avp) from None
    if not isinstance(members, list):
        raise AvpError(INVALID_AVP_VALUE, f"{avp.name} is not a group", avp)
    return Members(members)


def decode(data: bytes) -> Received:
    """Decode one whole message; a fault in its AVPs is kept in `fault`, for the answer."""
    header = MessageHeader.from_bytes(data)
    avps: list[Avp] = []
    try:
        _decode_avps(data, avps)
    except AvpError as fault:
        return Received(header, avps, fault)
    return Received(header, avps, None)


def _decode_avps(data: bytes, avps: list[Avp]) -> None:
    unpacker = Unpacker(data)
    unpacker.set_position(HEADER_BYTES)
    while (position := unpacker.get_position()) < len(data):
        head = data[position : position + 8]
        smallest = 12 if len(head) == 8 and head[4] & Avp.avp_flag_vendor else 8
        if len(head) < 8 or int.from_bytes(head[5:8], "big") < smallest:
            raise _wrong_length(head)
        try:
            avp = Avp.from_unpacker(unpacker)
        except ConversionError:
            raise _wrong_length(head) from None
        if avp.is_mandatory and type(avp) is Avp:  # the library's dictionary gives known AVPs a subclass
            raise AvpError(AVP_UNSUPPORTED, f"AVP {avp.code} of vendor {avp.vendor_id} is unknown", avp)
        avps.append(avp)
        if len(avps) > MAX_AVPS:
            raise AvpError(UNABLE_TO_COMPLY, f"more than {MAX_AVPS} AVPs")


def _wrong_length(head: bytes) -> AvpError:
    """Build the fault of a length that cannot be: Failed-AVP shows the code only (RFC 6733 7.1.5)."""
    code = int.from_bytes(head[:4], "big")
    return AvpError(INVALID_AVP_LENGTH, f"AVP {code} has a wrong length", Avp(code))


def encode(header: MessageHeader, avps: list[Avp]) -> bytes:
    """Encode a message."""
    return bytes(Message(header, avps).as_bytes())


def request_header(command: int, hop_by_hop: int, end_to_end: int, application: int = 0) -> MessageHeader:
    """Make the header of a request of ours."""
    header = MessageHeader(
        command_code=command,
        application_id=application,
        hop_by_hop_identifier=hop_by_hop,
        end_to_end_identifier=end_to_end,
    )
    header.is_request = True
    return header


def answer_header(request: Received, result: ResultCode) -> MessageHeader:
    """Make the header of the answer to a request (RFC 6733 6.2)."""
    header = MessageHeader(
        command_code=request.command,
        application_id=request.application,
        hop_by_hop_identifier=request.header.hop_by_hop_identifier,
        end_to_end_identifier=request.header.end_to_end_identifier,
    )
    header.is_proxyable = request.header.is_proxyable
    header.is_error = result.is_protocol_error
    return header
