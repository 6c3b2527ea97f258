"""Digest authentication: RFC 2617, RFC 7616, RFC 8760 for SIP, and AKAv1-MD5 of RFC 3310.

With AKA the password is RES as it is, in binary (RFC 3310 3.3), and empty in a request that carries auts (3.4).
Not covered: AKAv2 (RFC 4169), hashed user names, SHA-512-256.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

from opencscf.common.errors import ParseError
from opencscf.common.sip.message import ENCODING, ERRORS

if TYPE_CHECKING:
    from opencscf.common.sip.headers import Credentials

RAND_BYTES: Final = 16  # TS 33.102 6.3
AUTN_BYTES: Final = 16
AUTS_BYTES: Final = 14
MAX_NONCE_CHARS: Final = 4096

_HASHES: Final = {"md5": hashlib.md5, "akav1-md5": hashlib.md5, "sha-256": hashlib.sha256}
_SESSION: Final = "-sess"


class AkaNonce(NamedTuple):
    """What the nonce of an AKA challenge holds (RFC 3310 3.2)."""

    rand: bytes
    autn: bytes


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
    secret = ha1
    if secret is None:
        secret = _hash(algorithm, _encoded(f"{username}:{realm}:") + (password or b""))
    if algorithm.lower().endswith(_SESSION):
        secret = _hash(algorithm, _encoded(f"{secret}:{nonce}:{cnonce}"))
    a2 = f"{method}:{uri}"
    match qop.lower():
        case "":  # a server of RFC 2069
            return _hash(algorithm, _encoded(f"{secret}:{nonce}:{_hash(algorithm, _encoded(a2))}"))
        case "auth":
            pass
        case "auth-int":
            a2 = f"{a2}:{_hash(algorithm, entity_body)}"
        case _:
            raise ParseError("unknown qop")
    return _hash(algorithm, _encoded(f"{secret}:{nonce}:{nc}:{cnonce}:{qop}:{_hash(algorithm, _encoded(a2))}"))


def verify(
    credentials: Credentials,
    method: str,
    *,
    password: bytes | None = None,
    ha1: str | None = None,
    entity_body: bytes = b"",
) -> bool:
    """Whether the credentials were made with this password or H(A1).

    Whether their nonce, nc and uri are the expected ones is for the caller to know.
    """
    given = credentials.get("response")
    qop = credentials.get("qop") or ""
    if not given or (qop and not (credentials.get("nc") and credentials.get("cnonce"))):
        return False
    try:
        expected = response(
            username=credentials.get("username") or "",
            realm=credentials.get("realm") or "",
            nonce=credentials.get("nonce") or "",
            uri=credentials.get("uri") or "",
            method=method,
            password=password,
            ha1=ha1,
            qop=qop,
            nc=credentials.get("nc") or "",
            cnonce=credentials.get("cnonce") or "",
            algorithm=credentials.get("algorithm") or "MD5",
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
    make = _HASHES.get(algorithm.lower().removesuffix(_SESSION))
    if make is None:
        raise ParseError("unknown digest algorithm")
    return make(data, usedforsecurity=False).hexdigest()


def _encoded(text: str) -> bytes:
    return text.encode(ENCODING, ERRORS)


def _from_base64(text: str, what: str) -> bytes:
    if len(text) > MAX_NONCE_CHARS or not text.isascii():
        raise ParseError(f"malformed {what}")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise ParseError(f"malformed {what}") from None
