"""Result codes by name: RFC 6733 7.1 (base), TS 29.229 6.2 (Cx) and TS 29.214 5.5 (Rx).

The same number means different things in Result-Code and in Experimental-Result, hence the vendor. Reading and
writing both is `result_of` and `result_avps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from opencscf.common.errors import ParseError
from opencscf.diameter import dictionary
from opencscf.diameter.codec import Avp, encode_avps
from opencscf.diameter.dictionary import TGPP


@dataclass(frozen=True, slots=True)
class Result:
    """A Result-Code (vendor 0) or an Experimental-Result; unknown codes are kept as they are."""

    code: int
    vendor: int = 0

    # RFC 6733 7.1
    SUCCESS: ClassVar[Result]
    LIMITED_SUCCESS: ClassVar[Result]
    COMMAND_UNSUPPORTED: ClassVar[Result]
    UNABLE_TO_DELIVER: ClassVar[Result]
    REALM_NOT_SERVED: ClassVar[Result]
    TOO_BUSY: ClassVar[Result]
    LOOP_DETECTED: ClassVar[Result]
    REDIRECT_INDICATION: ClassVar[Result]
    APPLICATION_UNSUPPORTED: ClassVar[Result]
    INVALID_HDR_BITS: ClassVar[Result]
    INVALID_AVP_BITS: ClassVar[Result]
    UNKNOWN_PEER: ClassVar[Result]
    AUTHENTICATION_REJECTED: ClassVar[Result]
    OUT_OF_SPACE: ClassVar[Result]
    ELECTION_LOST: ClassVar[Result]
    AVP_UNSUPPORTED: ClassVar[Result]
    UNKNOWN_SESSION_ID: ClassVar[Result]
    AUTHORIZATION_REJECTED: ClassVar[Result]
    INVALID_AVP_VALUE: ClassVar[Result]
    MISSING_AVP: ClassVar[Result]
    RESOURCES_EXCEEDED: ClassVar[Result]
    CONTRADICTING_AVPS: ClassVar[Result]
    AVP_NOT_ALLOWED: ClassVar[Result]
    AVP_OCCURS_TOO_MANY_TIMES: ClassVar[Result]
    NO_COMMON_APPLICATION: ClassVar[Result]
    UNSUPPORTED_VERSION: ClassVar[Result]
    UNABLE_TO_COMPLY: ClassVar[Result]
    INVALID_BIT_IN_HEADER: ClassVar[Result]
    INVALID_AVP_LENGTH: ClassVar[Result]
    INVALID_MESSAGE_LENGTH: ClassVar[Result]
    INVALID_AVP_BIT_COMBO: ClassVar[Result]
    NO_COMMON_SECURITY: ClassVar[Result]

    # TS 29.229 6.2
    FIRST_REGISTRATION: ClassVar[Result]
    SUBSEQUENT_REGISTRATION: ClassVar[Result]
    UNREGISTERED_SERVICE: ClassVar[Result]
    SUCCESS_SERVER_NAME_NOT_STORED: ClassVar[Result]
    USER_UNKNOWN: ClassVar[Result]
    IDENTITIES_DONT_MATCH: ClassVar[Result]
    IDENTITY_NOT_REGISTERED: ClassVar[Result]
    ROAMING_NOT_ALLOWED: ClassVar[Result]
    IDENTITY_ALREADY_REGISTERED: ClassVar[Result]
    AUTH_SCHEME_NOT_SUPPORTED: ClassVar[Result]
    IN_ASSIGNMENT_TYPE: ClassVar[Result]
    TOO_MUCH_DATA: ClassVar[Result]
    NOT_SUPPORTED_USER_DATA: ClassVar[Result]
    FEATURE_UNSUPPORTED: ClassVar[Result]
    SERVING_NODE_FEATURE_UNSUPPORTED: ClassVar[Result]

    # TS 29.214 5.5
    REQUESTED_SERVICE_TEMPORARILY_NOT_AUTHORIZED: ClassVar[Result]
    INVALID_SERVICE_INFORMATION: ClassVar[Result]
    FILTER_RESTRICTIONS: ClassVar[Result]
    REQUESTED_SERVICE_NOT_AUTHORIZED: ClassVar[Result]
    DUPLICATED_AF_SESSION: ClassVar[Result]
    IP_CAN_SESSION_NOT_AVAILABLE: ClassVar[Result]
    UNAUTHORIZED_NON_EMERGENCY_SESSION: ClassVar[Result]
    UNAUTHORIZED_SPONSORED_DATA_CONNECTIVITY: ClassVar[Result]
    TEMPORARY_NETWORK_FAILURE: ClassVar[Result]

    @property
    def is_success(self) -> bool:
        """Whether the request was carried out, of either kind."""
        return 2000 <= self.code < 3000

    @property
    def is_protocol_error(self) -> bool:
        """Whether the request never reached somebody who could decide on it (7.1.3)."""
        return self.vendor == 0 and 3000 <= self.code < 4000

    def __str__(self) -> str:
        return f"{name_of(self.code, self.vendor)} ({self.code})"


_BASE = {
    2001: "SUCCESS",
    2002: "LIMITED_SUCCESS",
    3001: "COMMAND_UNSUPPORTED",
    3002: "UNABLE_TO_DELIVER",
    3003: "REALM_NOT_SERVED",
    3004: "TOO_BUSY",
    3005: "LOOP_DETECTED",
    3006: "REDIRECT_INDICATION",
    3007: "APPLICATION_UNSUPPORTED",
    3008: "INVALID_HDR_BITS",
    3009: "INVALID_AVP_BITS",
    3010: "UNKNOWN_PEER",
    4001: "AUTHENTICATION_REJECTED",
    4002: "OUT_OF_SPACE",
    4003: "ELECTION_LOST",
    5001: "AVP_UNSUPPORTED",
    5002: "UNKNOWN_SESSION_ID",
    5003: "AUTHORIZATION_REJECTED",
    5004: "INVALID_AVP_VALUE",
    5005: "MISSING_AVP",
    5006: "RESOURCES_EXCEEDED",
    5007: "CONTRADICTING_AVPS",
    5008: "AVP_NOT_ALLOWED",
    5009: "AVP_OCCURS_TOO_MANY_TIMES",
    5010: "NO_COMMON_APPLICATION",
    5011: "UNSUPPORTED_VERSION",
    5012: "UNABLE_TO_COMPLY",
    5013: "INVALID_BIT_IN_HEADER",
    5014: "INVALID_AVP_LENGTH",
    5015: "INVALID_MESSAGE_LENGTH",
    5016: "INVALID_AVP_BIT_COMBO",
    5017: "NO_COMMON_SECURITY",
}

_EXPERIMENTAL = {
    2001: "FIRST_REGISTRATION",
    2002: "SUBSEQUENT_REGISTRATION",
    2003: "UNREGISTERED_SERVICE",
    2004: "SUCCESS_SERVER_NAME_NOT_STORED",
    4261: "REQUESTED_SERVICE_TEMPORARILY_NOT_AUTHORIZED",
    5001: "USER_UNKNOWN",
    5002: "IDENTITIES_DONT_MATCH",
    5003: "IDENTITY_NOT_REGISTERED",
    5004: "ROAMING_NOT_ALLOWED",
    5005: "IDENTITY_ALREADY_REGISTERED",
    5006: "AUTH_SCHEME_NOT_SUPPORTED",
    5007: "IN_ASSIGNMENT_TYPE",
    5008: "TOO_MUCH_DATA",
    5009: "NOT_SUPPORTED_USER_DATA",
    5011: "FEATURE_UNSUPPORTED",
    5012: "SERVING_NODE_FEATURE_UNSUPPORTED",
    5061: "INVALID_SERVICE_INFORMATION",
    5062: "FILTER_RESTRICTIONS",
    5063: "REQUESTED_SERVICE_NOT_AUTHORIZED",
    5064: "DUPLICATED_AF_SESSION",
    5065: "IP_CAN_SESSION_NOT_AVAILABLE",
    5066: "UNAUTHORIZED_NON_EMERGENCY_SESSION",
    5067: "UNAUTHORIZED_SPONSORED_DATA_CONNECTIVITY",
    5068: "TEMPORARY_NETWORK_FAILURE",
}

for _vendor, _names in ((0, _BASE), (TGPP, _EXPERIMENTAL)):
    for _code, _name in _names.items():
        setattr(Result, _name, Result(_code, _vendor))


ResultCode = Result


def name_of(code: int, vendor: int = 0) -> str:
    """Name a code the way the specifications do, or say that it is unknown."""
    names = {0: _BASE, TGPP: _EXPERIMENTAL}.get(vendor, {})
    if code in names:
        return names[code]
    return "unknown result" if vendor in {0, TGPP} else f"unknown result of vendor {vendor}"


def result_of(avps: Sequence[Avp], command: str) -> Result:
    """Read an answer's result: Experimental-Result first, because some peers send a wrong Result-Code beside it."""
    experimental = dictionary.EXPERIMENTAL_RESULT.octets_in(avps)
    if experimental is not None:
        result = _experimental_result(experimental)
        if result is None:
            raise ParseError(f"{command} with an Experimental-Result without Experimental-Result-Code")
        return result
    code = dictionary.RESULT_CODE.number_in(avps)
    if code is None:
        raise ParseError(f"{command} without Result-Code and Experimental-Result")
    return _base_result(code)


@dictionary.remembered
def _experimental_result(data: bytes) -> Result | None:
    members = dictionary.EXPERIMENTAL_RESULT.members(data)
    code = dictionary.EXPERIMENTAL_RESULT_CODE.number_in(members)
    return None if code is None else Result(code, dictionary.VENDOR_ID.number_in(members) or TGPP)


_base_result = lru_cache(64)(Result)


def result_avps(result: Result) -> list[Avp]:
    """Write a result the way its kind is written."""
    if not result.vendor:
        return [dictionary.RESULT_CODE.number(result.code)]
    return [
        dictionary.EXPERIMENTAL_RESULT.group(
            dictionary.VENDOR_ID.number(result.vendor), dictionary.EXPERIMENTAL_RESULT_CODE.number(result.code)
        )
    ]


@lru_cache(64)
def encode_result(result: Result) -> bytes:
    """Write a result at once."""
    return encode_avps(result_avps(result))
