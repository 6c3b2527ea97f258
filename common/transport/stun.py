"""Answers to the STUN keep-alives that UEs send to a SIP port over UDP (RFC 5626 8, RFC 8489 6.3). Pure.

A Binding request tells a UE that its flow is alive, and through which address it is seen. Nothing else is asked of us,
so nothing else is answered; no answer is larger than two and a half times its request, and none is kept.

Not covered: credentials (a keep-alive has none), the STUN of RFC 3489, without its magic cookie (RFC 5626 8).
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from typing import Final

MAX_REQUEST_BYTES: Final = 548  # RFC 8489 6.1: what no path has to fragment
MAX_FIRST_OCTET: Final = 1  # RFC 5626 8: a Binding message begins with 0 or 1, and no SIP message does

_HEADER: Final = struct.Struct("!HHI12s")  # type, length of what follows, magic cookie, transaction
_ATTRIBUTE: Final = struct.Struct("!HH")  # type, length without padding
_COOKIE: Final = 0x2112A442
_FINGERPRINT_XOR: Final = 0x5354554E
_FINGERPRINT_BYTES: Final = 8

_BINDING_REQUEST: Final = 0x0001
_BINDING_SUCCESS: Final = 0x0101
_BINDING_ERROR: Final = 0x0111

_MESSAGE_INTEGRITY: Final = 0x0008
_ERROR_CODE: Final = 0x0009
_UNKNOWN_ATTRIBUTES: Final = 0x000A
_XOR_MAPPED_ADDRESS: Final = 0x0020
_FINGERPRINT: Final = 0x8028
_OPTIONAL: Final = 0x8000  # from here on, what is not understood need not be (RFC 8489 14)

# RFC 8489 18.3: what a request may carry, although a keep-alive does not need it. All but the fingerprint is ignored.
_KNOWN: Final = frozenset({0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E, 0x0020})
_UNKNOWN_ATTRIBUTE: Final = b"\0\0\4\x14Unknown Attribute"  # class 4, number 20, and its phrase (RFC 8489 14.8)


def binding_response(data: bytes, remote: tuple[str, int]) -> bytes | None:
    """Answer a Binding request that came from `remote`; None for what is no such request, or a damaged one."""
    if not _HEADER.size <= len(data) <= MAX_REQUEST_BYTES:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length != len(data) - _HEADER.size or length % 4:
        return None
    try:
        unknown, has_fingerprint = _read_attributes(data)
    except ValueError:
        return None
    if unknown:
        listed = struct.pack(f"!{len(unknown)}H", *unknown)
        kind = _BINDING_ERROR
        body = _attribute(_ERROR_CODE, _UNKNOWN_ATTRIBUTE) + _attribute(_UNKNOWN_ATTRIBUTES, listed)
    else:
        kind = _BINDING_SUCCESS
        body = _attribute(_XOR_MAPPED_ADDRESS, _xor_mapped(remote, transaction))
    return _message(kind, transaction, body, has_fingerprint=has_fingerprint)


def _read_attributes(data: bytes) -> tuple[list[int], bool]:
    """List what must be understood and is not, and say whether there is a fingerprint; ValueError if it is damaged."""
    unknown: list[int] = []
    is_sealed = False  # nothing after MESSAGE-INTEGRITY counts, but the fingerprint (RFC 8489 9)
    position = _HEADER.size
    while position < len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, position)
        end = position + _ATTRIBUTE.size + length + -length % 4
        if end > len(data):
            raise ValueError("an attribute is longer than its message")
        if kind == _FINGERPRINT:
            if end != len(data) or data[position:] != _fingerprint(data[:position]):
                raise ValueError("a fingerprint that is wrong, or not the last attribute")
            return unknown, True
        if kind < _OPTIONAL and kind not in _KNOWN and kind not in unknown and not is_sealed:
            unknown.append(kind)
        is_sealed = is_sealed or kind == _MESSAGE_INTEGRITY
        position = end
    return unknown, False


def _message(kind: int, transaction: bytes, body: bytes, *, has_fingerprint: bool) -> bytes:
    length = len(body) + (_FINGERPRINT_BYTES if has_fingerprint else 0)
    message = _HEADER.pack(kind, length, _COOKIE, transaction) + body
    return message + _fingerprint(message) if has_fingerprint else message


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _fingerprint(message: bytes) -> bytes:
    """Write the attribute that seals a message, whose length already counts it (RFC 8489 14.7)."""
    return struct.pack("!HHI", _FINGERPRINT, 4, zlib.crc32(message) ^ _FINGERPRINT_XOR)


def _xor_mapped(remote: tuple[str, int], transaction: bytes) -> bytes:
    """Write an address so that no NAT takes it for one that it has to change (RFC 8489 14.2)."""
    host, port = remote
    address = ipaddress.ip_address(host.partition("%")[0]).packed
    mask = _COOKIE.to_bytes(4, "big") + transaction
    masked = bytes(octet ^ key for octet, key in zip(address, mask, strict=False))
    return struct.pack("!HH", 1 if len(address) == 4 else 2, port ^ (_COOKIE >> 16)) + masked
