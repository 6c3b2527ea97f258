"""New tags, branches, Call-IDs, nonces and tokens; seeded in tests.

Uniqueness over space and time (RFC 3261 8.1.1.7, 19.3) comes from 64 random bits per process and a counter; what must
also be unguessable (`token`, `octets`) is drawn from the system's cryptographic source each time.
"""

from __future__ import annotations

import os
import random
import secrets
from itertools import count

MAGIC_COOKIE = "z9hG4bK"  # RFC 3261 8.1.1.7


class Ids:
    """Makes identifiers; `Ids(seed=1)` makes the same ones in every run, for tests."""

    __slots__ = ("_counter", "_random", "_start")

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed) if seed is not None else None  # noqa: S311 - tests only
        self._start = f"{self._bits(64):x}."
        self._counter = count(1)

    def branch(self) -> str:
        """A Via branch with the magic cookie."""
        return f"{MAGIC_COOKIE}{self._start}{next(self._counter):x}"

    def tag(self) -> str:
        """A From or To tag: at least 32 bits of randomness (RFC 3261 19.3)."""
        return f"{self._bits(48):x}"

    def unique(self) -> str:
        """A name that nobody else makes, of letters, digits and a dot, but that can be guessed: an ICID."""
        return f"{self._start}{next(self._counter):x}"

    def token(self) -> str:
        """A name that nobody can guess, of letters and digits: a Path token, a Call-ID."""
        return self.octets(12).hex()

    def octets(self, length: int) -> bytes:
        """Random octets, such as a RAND."""
        seeded = self._random
        return seeded.getrandbits(8 * length).to_bytes(length, "big") if seeded is not None else os.urandom(length)

    def _bits(self, bits: int) -> int:
        return self._random.getrandbits(bits) if self._random is not None else secrets.randbits(bits)
