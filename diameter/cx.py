"""Cx: what the CSCFs ask the HSS and what it answers (TS 29.228 clause 6, TS 29.229 clause 6).

A question awaits its answer: `uaa = await UserAuthorizationRequest(impi, impu, visited_network)`. `encode` and
`from_avps` handle a command's own AVPs; Session-Id, origin and destination are the connection's business.

Not covered: SIP Digest items, Associated-Identities, restoration information, and the requests of the HSS (RTR, PPR).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from opencscf.common.actions import Question
from opencscf.common.errors import ParseError
from opencscf.common.ims.aka import AuthVector
from opencscf.diameter import dictionary
from opencscf.diameter.codec import Avp
from opencscf.diameter.dictionary import AvpDefinition, Command, required
from opencscf.diameter.results import Result, encode_result, result_of

DIGEST_AKAV1_MD5 = "Digest-AKAv1-MD5"  # SIP-Authentication-Scheme, TS 29.228 6.3

_EMERGENCY_REGISTRATION = 1  # UAR-Flags bit 0, TS 29.229 6.3.44


class UserAuthorizationType(enum.IntEnum):
    """What the REGISTER behind a UAR is about (TS 29.229 6.3.24)."""

    REGISTRATION = 0
    DE_REGISTRATION = 1
    REGISTRATION_AND_CAPABILITIES = 2


class ServerAssignmentType(enum.IntEnum):
    """Why the S-CSCF sends a SAR (TS 29.229 6.3.15)."""

    NO_ASSIGNMENT = 0
    REGISTRATION = 1
    RE_REGISTRATION = 2
    UNREGISTERED_USER = 3
    TIMEOUT_DEREGISTRATION = 4
    USER_DEREGISTRATION = 5
    TIMEOUT_DEREGISTRATION_STORE_SERVER_NAME = 6
    USER_DEREGISTRATION_STORE_SERVER_NAME = 7
    ADMINISTRATIVE_DEREGISTRATION = 8
    AUTHENTICATION_FAILURE = 9
    AUTHENTICATION_TIMEOUT = 10
    DEREGISTRATION_TOO_MUCH_DATA = 11
    AAA_USER_DATA_REQUEST = 12
    PGW_UPDATE = 13
    RESTORATION = 14


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """What an S-CSCF must and should be able to do to serve a user (TS 29.229 6.3.4)."""

    mandatory: frozenset[int] = frozenset()
    optional: frozenset[int] = frozenset()
    server_names: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Write Server-Capabilities."""
        return dictionary.SERVER_CAPABILITIES.write_group(
            *map(dictionary.MANDATORY_CAPABILITY.write_number, sorted(self.mandatory)),
            *map(dictionary.OPTIONAL_CAPABILITY.write_number, sorted(self.optional)),
            *map(dictionary.SERVER_NAME.write_text, self.server_names),
        )

    @classmethod
    def find(cls, avps: Sequence[Avp]) -> ServerCapabilities | None:
        """Read Server-Capabilities, if present."""
        data = dictionary.SERVER_CAPABILITIES.octets_in(avps)
        return None if data is None else _capabilities(data)


@dictionary.remembered
def _capabilities(data: bytes) -> ServerCapabilities:
    members = dictionary.SERVER_CAPABILITIES.members(data)
    mandatory, optional, name = (
        dictionary.MANDATORY_CAPABILITY,
        dictionary.OPTIONAL_CAPABILITY,
        dictionary.SERVER_NAME,
    )
    return ServerCapabilities(
        frozenset(map(mandatory.as_number, mandatory.find_all(members))),
        frozenset(map(optional.as_number, optional.find_all(members))),
        tuple(map(name.as_text, name.find_all(members))),
    )


@dataclass(frozen=True, slots=True)
class ChargingInformation:
    """Charging function names as the HSS gave them; some peers send text that is no DiameterURI (TS 29.229 6.3.19)."""

    primary_event: str | None = None
    secondary_event: str | None = None
    primary_collection: str | None = None
    secondary_collection: str | None = None

    def encode(self) -> bytes:
        """Write Charging-Information."""
        names = (self.primary_event, self.secondary_event, self.primary_collection, self.secondary_collection)
        return dictionary.CHARGING_INFORMATION.write_group(
            *(kind.write_text(name) for kind, name in zip(_CHARGING_FUNCTIONS, names, strict=True) if name is not None)
        )

    @classmethod
    def find(cls, avps: Sequence[Avp]) -> ChargingInformation | None:
        """Read Charging-Information, if present."""
        data = dictionary.CHARGING_INFORMATION.octets_in(avps)
        return None if data is None else _charging_information(data)


@dictionary.remembered
def _charging_information(data: bytes) -> ChargingInformation:
    members = dictionary.CHARGING_INFORMATION.members(data)
    return ChargingInformation(*(kind.text_in(members) for kind in _CHARGING_FUNCTIONS))


_CHARGING_FUNCTIONS = (
    dictionary.PRIMARY_EVENT_CHARGING_FUNCTION_NAME,
    dictionary.SECONDARY_EVENT_CHARGING_FUNCTION_NAME,
    dictionary.PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME,
    dictionary.SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME,
)


@dataclass(frozen=True, slots=True)
class UserAuthorizationAnswer:
    """UAA: whether the user may register, and which S-CSCF serves it or what one must be able to do (6.1.2)."""

    result: Result
    server_name: str | None = None
    capabilities: ServerCapabilities | None = None

    def encode(self) -> bytes:
        """Write the answer's own AVPs."""
        return encode_result(self.result) + _encode_server(self.server_name, self.capabilities)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> UserAuthorizationAnswer:
        """Read the answer."""
        return cls(result_of(avps, "UAA"), dictionary.SERVER_NAME.text_in(avps), ServerCapabilities.find(avps))


@dataclass(frozen=True, slots=True)
class UserAuthorizationRequest(Question[UserAuthorizationAnswer]):
    """UAR: may this user register here, and where (6.1.1); `visited_network` is the bare domain."""

    command: ClassVar[Command] = Command.USER_AUTHORIZATION
    session_id: ClassVar[None] = None

    impi: str
    impu: str
    visited_network: str
    authorization_type: UserAuthorizationType = UserAuthorizationType.REGISTRATION
    is_emergency: bool = False

    def encode(self) -> bytes:
        """Write the request's own AVPs."""
        return b"".join(
            (
                dictionary.USER_NAME.write_text(self.impi),
                dictionary.PUBLIC_IDENTITY.write_text(self.impu),
                _encode_visited_network(self.visited_network),
                _AUTHORIZATION_TYPES[self.authorization_type],
                _EMERGENCY if self.is_emergency else b"",
            )
        )

    def read_answer(self, avps: Sequence[Avp]) -> UserAuthorizationAnswer:
        """Read what the peer answers to this."""
        return UserAuthorizationAnswer.from_avps(avps)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> UserAuthorizationRequest:
        """Read the request."""
        return cls(
            _text(avps, dictionary.USER_NAME, "UAR"),
            _text(avps, dictionary.PUBLIC_IDENTITY, "UAR"),
            _text(avps, dictionary.VISITED_NETWORK_IDENTIFIER, "UAR"),
            dictionary.USER_AUTHORIZATION_TYPE.member_in(avps, UserAuthorizationType)
            or UserAuthorizationType.REGISTRATION,
            bool((dictionary.UAR_FLAGS.number_in(avps) or 0) & _EMERGENCY_REGISTRATION),
        )


@dataclass(frozen=True, slots=True)
class MultimediaAuthAnswer:
    """MAA: authentication vectors in the order of their use (6.1.8)."""

    result: Result
    vectors: tuple[AuthVector, ...] = ()

    def encode(self) -> bytes:
        """Write the answer's own AVPs."""
        if not self.vectors:
            return encode_result(self.result)
        return b"".join(
            (
                encode_result(self.result),
                dictionary.SIP_NUMBER_AUTH_ITEMS.write_number(len(self.vectors)),
                *(_encode_vector(number, vector) for number, vector in enumerate(self.vectors, 1)),
            )
        )

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> MultimediaAuthAnswer:
        """Read the answer; a success without a usable AKA vector is no answer."""
        result = result_of(avps, "MAA")
        item = dictionary.SIP_AUTH_DATA_ITEM
        items = [item.as_group(avp) for avp in item.find_all(avps)]
        if not result.is_success:
            return cls(result)
        if not items:
            raise ParseError("MAA without SIP-Auth-Data-Item")
        if len(items) > 1:
            items.sort(key=lambda item: dictionary.SIP_ITEM_NUMBER.number_in(item) or 0)
        return cls(result, tuple(map(_vector_of, items)))


@dataclass(frozen=True, slots=True)
class MultimediaAuthRequest(Question[MultimediaAuthAnswer]):
    """MAR: authentication vectors for a user (6.1.7); `resync` is RAND || AUTS of a challenge out of sequence."""

    command: ClassVar[Command] = Command.MULTIMEDIA_AUTH
    session_id: ClassVar[None] = None

    impi: str
    impu: str
    server_name: str
    scheme: str = DIGEST_AKAV1_MD5
    resync: bytes | None = None
    items: int = 1

    def encode(self) -> bytes:
        """Write the request's own AVPs."""
        return b"".join(
            (
                dictionary.USER_NAME.write_text(self.impi),
                dictionary.PUBLIC_IDENTITY.write_text(self.impu),
                _encode_wish(self.scheme) if self.resync is None else _encode_resync(self.scheme, self.resync),
                dictionary.SIP_NUMBER_AUTH_ITEMS.write_number(self.items),
                _encode_server_name(self.server_name),
            )
        )

    def read_answer(self, avps: Sequence[Avp]) -> MultimediaAuthAnswer:
        """Read what the peer answers to this."""
        return MultimediaAuthAnswer.from_avps(avps)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> MultimediaAuthRequest:
        """Read the request."""
        item = required(dictionary.SIP_AUTH_DATA_ITEM.group_in(avps), dictionary.SIP_AUTH_DATA_ITEM, "MAR")
        return cls(
            _text(avps, dictionary.USER_NAME, "MAR"),
            _text(avps, dictionary.PUBLIC_IDENTITY, "MAR"),
            _text(avps, dictionary.SERVER_NAME, "MAR"),
            dictionary.SIP_AUTHENTICATION_SCHEME.text_in(item) or DIGEST_AKAV1_MD5,
            dictionary.SIP_AUTHORIZATION.octets_in(item),
            required(dictionary.SIP_NUMBER_AUTH_ITEMS.number_in(avps), dictionary.SIP_NUMBER_AUTH_ITEMS, "MAR"),
        )


@dataclass(frozen=True, slots=True)
class ServerAssignmentAnswer:
    """SAA: the user profile as XML, unless it was said to be there already (6.1.4)."""

    result: Result
    user_data: bytes | None = field(default=None, repr=False)  # long
    charging: ChargingInformation | None = None

    def encode(self) -> bytes:
        """Write the answer's own AVPs."""
        user_data = b"" if self.user_data is None else dictionary.USER_DATA.write_octets(self.user_data)
        return encode_result(self.result) + user_data + (b"" if self.charging is None else self.charging.encode())

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> ServerAssignmentAnswer:
        """Read the answer; whether User-Data had to be there depends on the request and is the S-CSCF's to judge."""
        return cls(result_of(avps, "SAA"), dictionary.USER_DATA.octets_in(avps), ChargingInformation.find(avps))


@dataclass(frozen=True, slots=True)
class ServerAssignmentRequest(Question[ServerAssignmentAnswer]):
    """SAR: this S-CSCF serves the user from now on, or no longer (6.1.3)."""

    command: ClassVar[Command] = Command.SERVER_ASSIGNMENT
    session_id: ClassVar[None] = None

    impi: str | None
    impu: str
    server_name: str
    assignment_type: ServerAssignmentType
    data_already_available: bool = False

    def encode(self) -> bytes:
        """Write the request's own AVPs."""
        return b"".join(
            (
                b"" if self.impi is None else dictionary.USER_NAME.write_text(self.impi),
                dictionary.PUBLIC_IDENTITY.write_text(self.impu),
                _encode_server_name(self.server_name),
                _ASSIGNMENT_TYPES[self.assignment_type],
                _USER_DATA_ALREADY_AVAILABLE[self.data_already_available],
            )
        )

    def read_answer(self, avps: Sequence[Avp]) -> ServerAssignmentAnswer:
        """Read what the peer answers to this."""
        return ServerAssignmentAnswer.from_avps(avps)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> ServerAssignmentRequest:
        """Read the request."""
        kind, available = dictionary.SERVER_ASSIGNMENT_TYPE, dictionary.USER_DATA_ALREADY_AVAILABLE
        return cls(
            dictionary.USER_NAME.text_in(avps),
            _text(avps, dictionary.PUBLIC_IDENTITY, "SAR"),
            _text(avps, dictionary.SERVER_NAME, "SAR"),
            required(kind.member_in(avps, ServerAssignmentType), kind, "SAR"),
            bool(required(available.number_in(avps), available, "SAR")),
        )


@dataclass(frozen=True, slots=True)
class LocationInfoAnswer:
    """LIA: the S-CSCF that serves an identity, or what one must be able to do (6.1.6)."""

    result: Result
    server_name: str | None = None
    capabilities: ServerCapabilities | None = None
    wildcarded_identity: str | None = None

    def encode(self) -> bytes:
        """Write the answer's own AVPs."""
        avps = encode_result(self.result) + _encode_server(self.server_name, self.capabilities)
        if self.wildcarded_identity is not None:
            avps += dictionary.WILDCARDED_PUBLIC_IDENTITY.write_text(self.wildcarded_identity)
        return avps

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> LocationInfoAnswer:
        """Read the answer."""
        return cls(
            result_of(avps, "LIA"),
            dictionary.SERVER_NAME.text_in(avps),
            ServerCapabilities.find(avps),
            dictionary.WILDCARDED_PUBLIC_IDENTITY.text_in(avps),
        )


@dataclass(frozen=True, slots=True)
class LocationInfoRequest(Question[LocationInfoAnswer]):
    """LIR: who serves this identity (6.1.5)."""

    command: ClassVar[Command] = Command.LOCATION_INFO
    session_id: ClassVar[None] = None

    impu: str
    is_originating: bool = False

    def encode(self) -> bytes:
        """Write the request's own AVPs."""
        identity = dictionary.PUBLIC_IDENTITY.write_text(self.impu)
        return identity + _ORIGINATING if self.is_originating else identity

    def read_answer(self, avps: Sequence[Avp]) -> LocationInfoAnswer:
        """Read what the peer answers to this."""
        return LocationInfoAnswer.from_avps(avps)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> LocationInfoRequest:
        """Read the request."""
        return cls(
            _text(avps, dictionary.PUBLIC_IDENTITY, "LIR"),
            dictionary.ORIGINATING_REQUEST.find(avps) is not None,
        )


def _text(avps: Sequence[Avp], definition: AvpDefinition, command: str) -> str:
    return required(definition.text_in(avps), definition, command)


def _encode_server(server_name: str | None, capabilities: ServerCapabilities | None) -> bytes:
    name = b"" if server_name is None else _encode_server_name(server_name)
    return name if capabilities is None else name + capabilities.encode()


# What is the same in most requests is written once.
_encode_server_name = lru_cache(64)(dictionary.SERVER_NAME.write_text)
_encode_visited_network = lru_cache(64)(dictionary.VISITED_NETWORK_IDENTIFIER.write_text)
_AUTHORIZATION_TYPES = {kind: dictionary.USER_AUTHORIZATION_TYPE.write_number(kind) for kind in UserAuthorizationType}
_ASSIGNMENT_TYPES = {kind: dictionary.SERVER_ASSIGNMENT_TYPE.write_number(kind) for kind in ServerAssignmentType}
_USER_DATA_ALREADY_AVAILABLE = tuple(map(dictionary.USER_DATA_ALREADY_AVAILABLE.write_number, (0, 1)))
_EMERGENCY = dictionary.UAR_FLAGS.write_number(_EMERGENCY_REGISTRATION)
_ORIGINATING = dictionary.ORIGINATING_REQUEST.write_number(0)  # its presence is what counts, 6.3.34


@lru_cache(8)
def _encode_wish(scheme: str) -> bytes:
    """Write the SIP-Auth-Data-Item of a MAR (6.3.13)."""
    return dictionary.SIP_AUTH_DATA_ITEM.write_group(dictionary.SIP_AUTHENTICATION_SCHEME.write_text(scheme))


def _encode_resync(scheme: str, resync: bytes) -> bytes:
    return dictionary.SIP_AUTH_DATA_ITEM.write_group(
        dictionary.SIP_AUTHENTICATION_SCHEME.write_text(scheme), dictionary.SIP_AUTHORIZATION.write_octets(resync)
    )


def _encode_vector(number: int, vector: AuthVector) -> bytes:
    """Write one AKA vector as SIP-Auth-Data-Item (6.3.13)."""
    return dictionary.SIP_AUTH_DATA_ITEM.write_group(
        dictionary.SIP_ITEM_NUMBER.write_number(number),
        dictionary.SIP_AUTHENTICATION_SCHEME.write_text(DIGEST_AKAV1_MD5),
        dictionary.SIP_AUTHENTICATE.write_octets(vector.rand + vector.autn),
        dictionary.SIP_AUTHORIZATION.write_octets(vector.xres),
        dictionary.CONFIDENTIALITY_KEY.write_octets(vector.ck),
        dictionary.INTEGRITY_KEY.write_octets(vector.ik),
    )


def _vector_of(item: Sequence[Avp]) -> AuthVector:
    """Read one AKA vector; what counts is the scheme that was answered, not the one that was asked for."""
    scheme = dictionary.SIP_AUTHENTICATION_SCHEME.text_in(item)
    if scheme not in {None, DIGEST_AKAV1_MD5} and scheme.casefold() != DIGEST_AKAV1_MD5.casefold():
        raise ParseError(f"MAA has scheme {scheme!r}, only {DIGEST_AKAV1_MD5} is supported")
    challenge = _octets(item, dictionary.SIP_AUTHENTICATE, 32, 32)
    return AuthVector(
        challenge[:16],
        challenge[16:],
        _octets(item, dictionary.SIP_AUTHORIZATION, 4, 16),
        _octets(item, dictionary.CONFIDENTIALITY_KEY, 16, 16),
        _octets(item, dictionary.INTEGRITY_KEY, 16, 16),
    )


def _octets(item: Sequence[Avp], definition: AvpDefinition, low: int, high: int) -> bytes:
    data = required(definition.octets_in(item), definition, "MAA")
    if not low <= len(data) <= high:
        raise ParseError(f"{definition.name} has {len(data)} octets")
    return data
