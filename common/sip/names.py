"""Header field names: compact forms, any case, one lower-case long form for each (RFC 3261 7.3.1, 7.3.3)."""

from __future__ import annotations

from typing import Final

from opencscf.common.errors import ParseError
from opencscf.common.sip.params import is_token

# RFC 3261 7.3.3 and, for later header fields, the IANA registry.
COMPACT_FORMS: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_COMMON_NAMES: Final = """
Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authentication-Info Authorization
Call-ID Call-Info Contact Content-Disposition Content-Encoding Content-Language Content-Length Content-Type CSeq Date
Error-Info Event Expires Feature-Caps From Geolocation History-Info Identity Identity-Info In-Reply-To Info-Package
Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info P-Asserted-Identity
P-Asserted-Service P-Associated-URI P-Called-Party-ID P-Charging-Function-Addresses P-Charging-Vector
P-Early-Media P-Preferred-Identity P-Preferred-Service P-Profile-Key P-Served-User P-User-Database
P-Visited-Network-ID Path Priority Privacy Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason
Record-Route Recv-Info Refer-Sub Refer-To Referred-By Reject-Contact Replaces Reply-To Request-Disposition Require
Resource-Priority Retry-After Route RSeq Security-Client Security-Server Security-Verify Server Service-Route
Session-Expires SIP-ETag SIP-If-Match Subject Subscription-State Supported Target-Dialog Timestamp To Unsupported
User-Agent Via Warning WWW-Authenticate
""".split()  # noqa: SIM905 - eighty quoted strings would be harder to read

METHODS: Final = frozenset(
    {"ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK", "PUBLISH"}
    | {"REFER", "REGISTER", "SUBSCRIBE", "UPDATE"}
)  # the registered ones


def _usual_spellings() -> dict[str, str]:
    canonical: dict[str, str] = {}
    for name in _COMMON_NAMES:
        lowered = name.lower()
        canonical.update(dict.fromkeys((name, lowered, name.upper(), name.title()), lowered))
    for compact, name in COMPACT_FORMS.items():
        canonical.update(dict.fromkeys((compact, compact.upper()), canonical[name]))
    return canonical


KNOWN: Final = _usual_spellings()  # a plain dict, for the hot path: the spellings that nearly all messages keep to


def canonical_name(name: str) -> str:
    """Return the one name that all spellings of a header field name share; ParseError if it is no name."""
    known = KNOWN.get(name)
    if known is not None:
        return known
    stripped = name.rstrip(" \t")  # HCOLON allows white space before the colon
    if not is_token(stripped):  # before it is in lower case, which makes a k of a Kelvin sign
        raise ParseError("malformed header field name")
    lowered = stripped.lower()
    return KNOWN.get(lowered, lowered)
