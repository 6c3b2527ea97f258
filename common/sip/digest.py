"""Digest authentication: RFC 2617, RFC 7616, RFC 8760 for SIP, and AKAv1-MD5 of RFC 3310.

With AKA the password is RES as it is, in binary (RFC 3310 3.3), and empty in a request that carries auts (3.4).
Not covered: AKAv2 (RFC 4169).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from opencscf.common.errors import ParseError
from opencscf.common.sip.message import ENCODING, ERRORS

if TYPE_CHECKING:
    from opencscf.common.sip.headers import Challenge, Credentials

RAND_BYTES: Final = 16  # TS 33.102 6.3
AUTN_BYTES: Final = 16
AUTS_BYTES: Final = 14
MAX_NONCE_CHARS: Final = 4096

_SESSION: Final = "-sess"
_EXTENDED: Final = re.compile(
    r"UTF-8'[A-Za-z0-9\-]*+'((?:[A-Za-z0-9!#$&+\-.^_`|~]++|%[0-9A-Fa-f]{2})+)", re.IGNORECASE | re.ASCII
)

# By the names of the IANA registry (RFC 7616 6.1) and of RFC 3310. SHA-512/256 is for OpenSSL to have or not.
_HASHES: Final[dict[str, Callable[[bytes], str]]] = {
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "akav1-md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "sha-256": lambda data: hashlib.sha256(data).hexdigest(),
}
if "sha512_256" in hashlib.algorithms_available:
    _HASHES["sha-512-256"] = lambda data: hashlib.new("sha512_256", data).hexdigest()
_HASHES.update({name + _SESSION: make for name, make in _HASHES.items()})


class AkaNonce(NamedTuple):
    """What the nonce of an AKA challenge holds (RFC 3310 3.2)."""

    rand: bytes
    autn: bytes


def is_supported(algorithm: str | None) -> bool:
    """Whether responses of this algorithm can be computed; without one it is MD5 (RFC 7616 3.3)."""
    return not algorithm or algorithm.lower() in _HASHES


def preferred(challenges: Iterable[Challenge], algorithms: Collection[str] = ()) -> Challenge | None:
    """Choose the challenge to answer: the topmost one that we can (RFC 8760 2.4), None if we can none of them.

    `algorithms` says, in any case, which ones we may use; all that are supported if it is empty. Challenges of one
    realm stand in the server's order of preference; those of several realms must be answered each (RFC 3261 22.3).
    """
    wanted = {algorithm.lower() for algorithm in algorithms}
    for challenge in challenges:
        algorithm = (challenge.get("algorithm") or "MD5").lower()
        if challenge.scheme.lower() == "digest" and is_supported(algorithm) and (not wanted or algorithm in wanted):
            return challenge
    return None


def userhash(username: str, realm: str, *, algorithm: str = "MD5") -> str:
    """Hash the name of a user that no eavesdropper shall learn (RFC 7616 3.4.4)."""
    return _hash(algorithm, _encoded(f"{username}:{realm}"))


def username_of(credentials: Credentials) -> str:
    """Read the user's name, `username*` too (RFC 7616 3.4); with `userhash=true` it is a hash of the name."""
    name, extended = credentials.get("username"), credentials.get("username*")
    if extended is None:
        return name or ""
    match = _EXTENDED.fullmatch(extended)
    if match is None or name is not None or is_hashed(credentials):
        raise ParseError("malformed username*, or one beside username or userhash")
    try:
        return unquote_to_bytes(match[1]).decode()
    except UnicodeDecodeError:
        raise ParseError("username* is not UTF-8") from None


def is_hashed(credentials: Credentials) -> bool:
    """Whether the credentials carry a hash in place of the user's name (RFC 7616 3.4.4)."""
    return (credentials.get("userhash") or "").lower() == "true"


def is_of_user(credentials: Credentials, username: str) -> bool:
    """Whether the credentials are of this user, by name or by hash (RFC 7616 3.4.4)."""
    try:
        given = username_of(credentials)
        if not is_hashed(credentials):
            return given == username
        algorithm = credentials.get("algorithm") or "MD5"
        expected = userhash(username, credentials.get("realm") or "", algorithm=algorithm)
    except ParseError:
        return False
    return hmac.compare_digest(_encoded(expected), _encoded(given.lower()))


def ha1(username: str, realm: str, password: bytes, *, algorithm: str = "MD5") -> str:
    """Hash what is secret, H(A1), which an HSS may hand out in place of the password (RFC 7616 3.4.2)."""
    return _hash(algorithm, _encoded(f"{username}:{realm}:") + password)


def response(
    *,
    username: str,
    realm: str,
    nonce: str,
    uri: str,
    method: str,
    password: bytes | None = None,
    ha1: str | None = None,
    qop: str = "",
    nc: str = "",
    cnonce: str = "",
    algorithm: str = "MD5",
    entity_body: bytes = b"",
) -> str:
    """Compute the response to a challenge from a password or from H(A1) (RFC 7616 3.4.1).

    An empty method makes it the rspauth of Authentication-Info (3.5). ParseError 400 for an unknown algorithm or qop.
    """
    algorithm = algorithm.lower()
    h = _HASHES.get(algorithm)
    if h is None:
        raise ParseError("unknown digest algorithm")
    secret = ha1
    if secret is None:
        secret = h(_encoded(f"{username}:{realm}:") + (password or b""))
    if algorithm.endswith(_SESSION):
        secret = h(_encoded(f"{secret}:{nonce}:{cnonce}"))
    a2 = f"{method}:{uri}"
    match qop.lower():
        case "":  # a server of RFC 2069
            return h(_encoded(f"{secret}:{nonce}:{h(_encoded(a2))}"))
        case "auth":
            pass
        case "auth-int":
            a2 = f"{a2}:{h(entity_body)}"
        case _:
            raise ParseError("unknown qop")
    return h(_encoded(f"{secret}:{nonce}:{nc}:{cnonce}:{qop}:{h(_encoded(a2))}"))


def verify(
    credentials: Credentials,
    method: str,
    *,
    password: bytes | None = None,
    ha1: str | None = None,
    username: str | None = None,
    entity_body: bytes = b"",
) -> bool:
    """Whether the credentials were made with this password or H(A1), and for this user if `username` is given.

    A password alone cannot judge credentials with a hashed name. Whether their nonce, nc and uri are the expected ones
    is for the caller to know.
    """
    get = credentials.params.get
    given, qop, nc, cnonce = get("response"), get("qop") or "", get("nc") or "", get("cnonce") or ""
    if not given or (qop and not (nc and cnonce)) or (username is not None and not is_of_user(credentials, username)):
        return False
    try:
        expected = response(
            username=username_of(credentials) if username is None else username,
            realm=get("realm") or "",
            nonce=get("nonce") or "",
            uri=get("uri") or "",
            method=method,
            password=password,
            ha1=ha1,
            qop=qop,
            nc=nc,
            cnonce=cnonce,
            algorithm=get("algorithm") or "MD5",
            entity_body=entity_body,
        )
    except ParseError:
        return False
    return hmac.compare_digest(_encoded(expected), _encoded(given.lower()))


def aka_nonce(rand: bytes, autn: bytes, server_data: bytes = b"") -> str:
    """Write the nonce of an AKA challenge: base64 of RAND, AUTN and what the server likes to add (RFC 3310 3.2)."""
    return binascii.b2a_base64(rand + autn + server_data, newline=False).decode("ascii")


def parse_aka_nonce(nonce: str) -> AkaNonce:
    """Read RAND and AUTN from the nonce of an AKA challenge."""
    octets = _from_base64(nonce, "nonce")
    if len(octets) < RAND_BYTES + AUTN_BYTES:
        raise ParseError("the nonce is too short for RAND and AUTN")
    return AkaNonce(octets[:RAND_BYTES], octets[RAND_BYTES : RAND_BYTES + AUTN_BYTES])


def format_auts(auts: bytes) -> str:
    """Write the auts parameter (RFC 3310 3.4)."""
    return binascii.b2a_base64(auts, newline=False).decode("ascii")


def parse_auts(text: str) -> bytes:
    """Read the auts parameter."""
    auts = _from_base64(text, "auts")
    if len(auts) != AUTS_BYTES:
        raise ParseError("auts has not 14 octets")
    return auts


def _hash(algorithm: str, data: bytes) -> str:
    make = _HASHES.get(algorithm.lower())
    if make is None:
        raise ParseError("unknown digest algorithm")
    return make(data)


def _encoded(text: str) -> bytes:
    return text.encode(ENCODING, ERRORS)


def _from_base64(text: str, what: str) -> bytes:
    if len(text) > MAX_NONCE_CHARS or not text.isascii():
        raise ParseError(f"malformed {what}")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise ParseError(f"malformed {what}") from None
