"""Shell: Python's cyclic garbage collector, held off until it is worth its pause.

A registration and a call leave no cycles behind (`tests/flows/test_garbage.py`), so reference counts free what they
used. Under load the collector would only look at every living transaction again and again, with pauses of 20 to 80 ms.
It runs when memory has grown and little is to be done, so that cycles from elsewhere, such as the end of a connection,
cannot pile up for ever; and if memory has grown very much, whatever is to be done.

What a burst has used and freed goes back to the system once little is to be done: glibc keeps it otherwise.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from typing import Final

CHECK_S: Final = 10.0  # how often to see whether memory has grown; that costs about 1 ms per GiB
QUIET_SHARE: Final = 0.1  # of one CPU, used since the last check
GROWTH: Final = 1.5  # since the last collection
GROWTH_AT_MOST: Final = 3.0
FREED_BLOCKS: Final = 20_000  # since the most that there were: worth returning, with the messages that went with them
_SPARE_BLOCKS: Final = 200_000  # of memory, beyond that growth: about 20 MiB
_SPARE_BLOCKS_AT_MOST: Final = 10_000_000  # of which 1,000 registrations a second need half in their transactions

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl needs none


class GarbageCollection:
    """Decides when to collect, and when to return what is free."""

    def __init__(self) -> None:
        self._most = 0  # blocks of memory since some were returned
        self._worth = self._too_much = 0  # blocks of memory
        self._checked_at = self._used_s = 0.0

    def hold_off(self) -> None:
        """Collect what starting has left, and from then on only when `check` says so."""
        gc.collect()
        gc.freeze()  # what is here now stays: no collection needs to look at it
        gc.disable()
        self._is_quiet()
        self._set_limits()

    def check(self) -> None:
        """Collect if it is worth it now; call this every `CHECK_S`."""
        blocks, is_quiet = sys.getallocatedblocks(), self._is_quiet()
        if blocks > self._too_much or (is_quiet and blocks > self._worth):
            gc.collect()
            self._set_limits()
        self._most = max(self._most, blocks)
        if is_quiet and self._most - blocks > FREED_BLOCKS and _trim is not None:
            _trim(0)
            self._most = blocks

    @staticmethod
    def resume() -> None:
        """Let Python decide again, but about new things only: to look at all others would hold up the end."""
        gc.freeze()
        gc.enable()

    def _is_quiet(self) -> bool:
        """Whether the process has had little to do since this was asked last."""
        now, used_s = time.monotonic(), time.process_time()
        is_quiet = used_s - self._used_s < QUIET_SHARE * (now - self._checked_at)
        self._checked_at, self._used_s = now, used_s
        return is_quiet

    def _set_limits(self) -> None:
        blocks = sys.getallocatedblocks()
        self._worth = int(blocks * GROWTH) + _SPARE_BLOCKS
        self._too_much = int(blocks * GROWTH_AT_MOST) + _SPARE_BLOCKS_AT_MOST
