"""Shell: what ICMP tells about datagrams that did not arrive (RFC 3261 18.4), from a socket's error queue (Linux).

Anybody can send such news about anybody, so whoever hears of it believes only what quotes a request that is under way.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, NamedTuple

MAX_READ: Final = 32  # in a row, before the loop's other work has its turn
_MAX_QUOTE_BYTES: Final = 1280  # IPv6 quotes as much as fits its smallest MTU
_MAX_CONTROL_BYTES: Final = 256
_IP_RECVERR: Final = 11  # Linux in.h, in6.h and errqueue.h; missing in the socket module
_IPV6_RECVERR: Final = 25
_KINDS: Final = {(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)}
_EXTENDED_ERROR: Final = struct.Struct("=IBBB")  # errno, origin, type, code
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMP6: Final = 3
_DESTINATION_UNREACHABLE: Final = 3  # RFC 792
_FRAGMENTATION_NEEDED: Final = 4  # its code; the kernel makes smaller packets from then on
_PARAMETER_PROBLEM: Final = 12
_DESTINATION_UNREACHABLE_6: Final = 1  # RFC 4443
_PARAMETER_PROBLEM_6: Final = 4


class Undelivered(NamedTuple):
    """A datagram that did not arrive: how it began, where it was to go, and why it did not."""

    quote: bytes
    remote: tuple[str, int]
    reason: str


def note_errors(opened: socket.socket) -> None:
    """Let the kernel keep what ICMP says about this socket's datagrams, if it can."""
    is_ipv6 = opened.family == socket.AF_INET6
    try:
        opened.setsockopt(*((socket.IPPROTO_IPV6, _IPV6_RECVERR) if is_ipv6 else (socket.IPPROTO_IP, _IP_RECVERR)), 1)
    except OSError:
        return


def read_errors(opened: socket.socket) -> tuple[list[Undelivered], bool]:
    """Take the news from the error queue, and tell whether there may be more."""
    told: list[Undelivered] = []
    for _ in range(MAX_READ):
        try:
            quote, control, _, remote = opened.recvmsg(
                _MAX_QUOTE_BYTES, _MAX_CONTROL_BYTES, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except OSError:
            return told, False
        number = _final_error(control)
        if number and remote:
            told.append(Undelivered(quote, (remote[0], remote[1]), os.strerror(number).lower()))
    return told, True


def _final_error(control: list[tuple[int, int, bytes]]) -> int:
    """Return the error that ends what was sent; 0 if there is none, such as TTL exceeded, which 18.4 ignores."""
    for level, kind, value in control:
        if (level, kind) in _KINDS and len(value) >= _EXTENDED_ERROR.size:
            number, origin, icmp_type, code = _EXTENDED_ERROR.unpack_from(value)
            if _is_final(origin, icmp_type, code):
                return int(number)
    return 0


def _is_final(origin: int, icmp_type: int, code: int) -> bool:
    if origin == _ORIGIN_ICMP:
        is_unreachable = icmp_type == _DESTINATION_UNREACHABLE and code != _FRAGMENTATION_NEEDED
        return is_unreachable or icmp_type == _PARAMETER_PROBLEM
    return origin == _ORIGIN_ICMP6 and icmp_type in (_DESTINATION_UNREACHABLE_6, _PARAMETER_PROBLEM_6)
