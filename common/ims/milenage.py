"""The Milenage functions f1, f1*, f2, f3, f4, f5 and f5* on AES-128 (TS 35.206), with its example constants r and c."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from Crypto.Cipher import AES

from opencscf.common.errors import ParseError

KEY_BYTES: Final = 16
RAND_BYTES: Final = 16
SQN_BYTES: Final = 6
AMF_BYTES: Final = 2

_BLOCK_BITS: Final = 128
_BLOCK_MASK: Final = (1 << _BLOCK_BITS) - 1
# TS 35.206 4.1: rotations in bits and constants; r2 = 0 and c1 = 0 leave their blocks alone.
_R1, _R3, _R4, _R5 = 64, 32, 64, 96
_C2, _C3, _C4, _C5 = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Outputs:
    """What f2, f3, f4 and f5 make of one RAND."""

    res: bytes = field(repr=False)
    ck: bytes = field(repr=False)
    ik: bytes = field(repr=False)
    ak: bytes = field(repr=False)


def derive_opc(k: bytes, op: bytes) -> bytes:
    """Compute OPc, the operator's constant bound to one subscriber's key (TS 35.206 4.1)."""
    _check_length("K", k, KEY_BYTES)
    _check_length("OP", op, KEY_BYTES)
    return _xor(AES.new(k, AES.MODE_ECB).encrypt(op), op)


class Milenage:
    """One subscriber's functions: K is expanded once, then each call costs a few AES blocks."""

    __slots__ = ("_aes", "_opc")

    def __init__(self, k: bytes, opc: bytes) -> None:
        _check_length("K", k, KEY_BYTES)
        _check_length("OPc", opc, KEY_BYTES)
        self._aes = AES.new(k, AES.MODE_ECB)
        self._opc = int.from_bytes(opc, "big")

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Network authentication code MAC-A, 8 octets."""
        return self._out1(rand, sqn, amf)[:8]

    def f1_star(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Resynchronisation code MAC-S, 8 octets."""
        return self._out1(rand, sqn, amf)[8:]

    def f2(self, rand: bytes) -> bytes:
        """Response RES, 8 octets."""
        return self.f2345(rand).res

    def f3(self, rand: bytes) -> bytes:
        """Confidentiality key CK."""
        return self.f2345(rand).ck

    def f4(self, rand: bytes) -> bytes:
        """Integrity key IK."""
        return self.f2345(rand).ik

    def f5(self, rand: bytes) -> bytes:
        """Anonymity key AK, 6 octets."""
        return self.f2345(rand).ak

    def f5_star(self, rand: bytes) -> bytes:
        """Anonymity key of the resynchronisation, AK*, 6 octets."""
        rotated = _rotate(self._temp(rand) ^ self._opc, _R5) ^ _C5
        return self._encrypt(rotated)[:6]

    def f2345(self, rand: bytes) -> Outputs:
        """Compute f2 to f5, which share most of their work, in one pass of three AES blocks."""
        base = self._temp(rand) ^ self._opc
        blocks = (base ^ _C2) << 256 | (_rotate(base, _R3) ^ _C3) << 128 | (_rotate(base, _R4) ^ _C4)
        encrypted = int.from_bytes(self._aes.encrypt(blocks.to_bytes(48, "big")), "big")
        opc = self._opc
        out = (encrypted ^ (opc << 256 | opc << 128 | opc)).to_bytes(48, "big")
        return Outputs(res=out[8:16], ck=out[16:32], ik=out[32:48], ak=out[:6])

    def _temp(self, rand: bytes) -> int:
        _check_length("RAND", rand, RAND_BYTES)
        block = (int.from_bytes(rand, "big") ^ self._opc).to_bytes(16, "big")
        return int.from_bytes(self._aes.encrypt(block), "big")

    def _out1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        _check_length("SQN", sqn, SQN_BYTES)
        _check_length("AMF", amf, AMF_BYTES)
        in1 = int.from_bytes((sqn + amf) * 2, "big")
        return self._encrypt(self._temp(rand) ^ _rotate(in1 ^ self._opc, _R1))

    def _encrypt(self, block: int) -> bytes:
        encrypted = int.from_bytes(self._aes.encrypt(block.to_bytes(16, "big")), "big")
        return (encrypted ^ self._opc).to_bytes(16, "big")


def _rotate(block: int, bits: int) -> int:
    """Rotate 128 bits towards the most significant."""
    return (block << bits & _BLOCK_MASK) | block >> (_BLOCK_BITS - bits)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _check_length(name: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise ParseError(f"{name} has {len(value)} octets instead of {length}")
