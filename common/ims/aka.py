"""Authentication and key agreement: vectors, the USIM's checks and resynchronisation (TS 33.102 6.3, Annex C).

Sequence numbers follow the profile of C.3.2: SQN = SEQ (43 bits) || IND (5 bits), not based on time, an array of 32
entries in the USIM, and a limit on how far SEQ may leap.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeAlias

from opencscf.common.errors import ParseError
from opencscf.common.ims.milenage import AMF_BYTES, RAND_BYTES, SQN_BYTES, Milenage

IND_BITS: Final = 5  # C.3.2
SQN_ARRAY_SIZE: Final = 1 << IND_BITS
SQN_MAX: Final = (1 << 48) - 1
SEQ_MAX: Final = SQN_MAX >> IND_BITS
SEQ_LEAP_LIMIT: Final = 1 << 28  # Delta of C.3.2: a network gone mad cannot use up the USIM's numbers at once
AUTN_BYTES: Final = 16
AUTS_BYTES: Final = 14
RESYNC_AMF: Final = bytes(AMF_BYTES)  # MAC-S is computed with an AMF of zero (6.3.3)


@dataclass(frozen=True, slots=True)
class AuthVector:
    """One quintet: the challenge, the answer it expects, and the keys it sets up."""

    rand: bytes
    autn: bytes
    xres: bytes = field(repr=False)
    ck: bytes = field(repr=False)
    ik: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The USIM trusts the network: its response and the keys."""

    res: bytes = field(repr=False)
    ck: bytes = field(repr=False)
    ik: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MacFailure:
    """The USIM does not trust the network: MAC-A is not what its own key makes of the challenge."""


@dataclass(frozen=True, slots=True)
class SyncFailure:
    """The challenge is genuine, but its sequence number is not fresh; `auts` tells the home network ours."""

    auts: bytes


ChallengeResult: TypeAlias = Agreement | MacFailure | SyncFailure


def make_vector(k: bytes, opc: bytes, sqn: int, amf: bytes, rand: bytes) -> AuthVector:
    """Make the vector of one sequence number and one RAND (6.3.2)."""
    milenage = _functions(k, opc)
    sqn_octets = _sqn_octets(sqn)
    out = milenage.f2345(rand)
    autn = _xor(sqn_octets, out.ak) + amf + milenage.f1(rand, sqn_octets, amf)
    return AuthVector(rand=rand, autn=autn, xres=out.res, ck=out.ck, ik=out.ik)


def next_sqn(sqn: int) -> int:
    """Follow one sequence number by the next to use: SEQ and IND each go on by one (C.1.1.2, C.1.2)."""
    seq = (sqn >> IND_BITS) + 1
    if seq > SEQ_MAX:
        raise ParseError("the subscriber's sequence numbers are used up")
    return seq << IND_BITS | (sqn + 1) & (SQN_ARRAY_SIZE - 1)


def is_fresh(sqn: int, *, last_seq: int, highest_seq: int) -> bool:
    """Decide whether a USIM accepts SQN: new in its own array entry, and no leap (C.2.1, C.2.2)."""
    seq = sqn >> IND_BITS
    return last_seq < seq <= highest_seq + SEQ_LEAP_LIMIT


def make_auts(k: bytes, opc: bytes, sqn_ms: int, rand: bytes) -> bytes:
    """Conceal and sign the USIM's sequence number (6.3.3)."""
    milenage = _functions(k, opc)
    sqn_octets = _sqn_octets(sqn_ms)
    return _xor(sqn_octets, milenage.f5_star(rand)) + milenage.f1_star(rand, sqn_octets, RESYNC_AMF)


def verify_auts(k: bytes, opc: bytes, rand: bytes, auts: bytes) -> int | None:
    """Return SQN_MS out of a resynchronisation token, or None if its MAC-S is not the subscriber's (6.3.5)."""
    if len(auts) != AUTS_BYTES:
        raise ParseError(f"AUTS has {len(auts)} octets instead of {AUTS_BYTES}")
    milenage = _functions(k, opc)
    sqn_octets = _xor(auts[:SQN_BYTES], milenage.f5_star(rand))
    expected = milenage.f1_star(rand, sqn_octets, RESYNC_AMF)
    return int.from_bytes(sqn_octets, "big") if hmac.compare_digest(expected, auts[SQN_BYTES:]) else None


def resynchronised_sqn(sqn_he: int, sqn_ms: int) -> int:
    """Choose the home network's SQN after a verified AUTS: its own if the next one will be accepted (6.3.5)."""
    seq_ms = sqn_ms >> IND_BITS
    if sqn_he >> IND_BITS < SEQ_MAX and is_fresh(next_sqn(sqn_he), last_seq=seq_ms, highest_seq=seq_ms):
        return sqn_he
    return sqn_ms


class Usim:
    """The subscriber's side: a key and the sequence numbers it has seen, one per IND (C.2.1)."""

    __slots__ = ("_k", "_opc", "_seen")

    def __init__(self, k: bytes, opc: bytes, *, sqn_ms: int = 0) -> None:
        self._k = k
        self._opc = opc
        self._seen = [sqn_ms >> IND_BITS] * SQN_ARRAY_SIZE

    @property
    def sqn_ms(self) -> int:
        """The highest sequence number accepted so far, which is what AUTS reports."""
        highest = max(self._seen)
        return highest << IND_BITS | self._seen.index(highest)

    def challenge(self, rand: bytes, autn: bytes) -> ChallengeResult:
        """Check the network's challenge and remember its sequence number if it is accepted (6.3.3)."""
        if len(autn) != AUTN_BYTES:
            raise ParseError(f"AUTN has {len(autn)} octets instead of {AUTN_BYTES}")
        milenage = _functions(self._k, self._opc)
        out = milenage.f2345(rand)
        sqn_octets = _xor(autn[:SQN_BYTES], out.ak)
        amf, mac = autn[SQN_BYTES : SQN_BYTES + AMF_BYTES], autn[SQN_BYTES + AMF_BYTES :]
        if not hmac.compare_digest(milenage.f1(rand, sqn_octets, amf), mac):
            return MacFailure()
        sqn = int.from_bytes(sqn_octets, "big")
        ind = sqn & (SQN_ARRAY_SIZE - 1)
        if not is_fresh(sqn, last_seq=self._seen[ind], highest_seq=max(self._seen)):
            return SyncFailure(make_auts(self._k, self._opc, self.sqn_ms, rand))
        self._seen[ind] = sqn >> IND_BITS
        return Agreement(res=out.res, ck=out.ck, ik=out.ik)


def split_nonce(nonce: bytes) -> tuple[bytes, bytes]:
    """Take the octets of an AKA nonce apart into RAND and AUTN (RFC 3310 3.2); what follows is the server's own."""
    if len(nonce) < RAND_BYTES + AUTN_BYTES:
        raise ParseError("nonce is too short for RAND and AUTN")
    return nonce[:RAND_BYTES], nonce[RAND_BYTES : RAND_BYTES + AUTN_BYTES]


@lru_cache(maxsize=4096)
def _functions(k: bytes, opc: bytes) -> Milenage:
    """Keep the expanded keys of the subscribers seen last: expansion costs more than the functions."""
    return Milenage(k, opc)


def _sqn_octets(sqn: int) -> bytes:
    if not 0 <= sqn <= SQN_MAX:
        raise ParseError("SQN does not fit in 48 bits")
    return sqn.to_bytes(SQN_BYTES, "big")


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(SQN_BYTES, "big")
