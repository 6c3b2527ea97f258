"""Time: the system's clock that never runs backwards, a fake one for tests, and the one timer wheel of a node.

Every timer of a node sits in its `TimerWheel`, which costs a dictionary look-up and an append per timer whatever
their number. Nothing is cancelled: whoever is told that a timer ended looks at its own state first.
"""

from __future__ import annotations

import math
import time
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

TICK_S = 0.1
_ROUNDING = 1e-4  # of a tick: seconds since the epoch as float are exact to 0.2 us only


class Clock(Protocol):
    """Tells the time in seconds since the epoch; it never runs backwards."""

    def now(self) -> float:
        """Return the seconds since the epoch."""
        ...


class SystemClock:
    """The epoch as it was at start, plus monotonic time since: a step of the host's clock does not disturb timers."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return self._offset + time.monotonic()


class FakeClock:
    """A clock that stands still until a test moves it."""

    __slots__ = ("_now",)

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def now(self) -> float:
        """Return the time the test has reached."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Let time pass, and return the new time."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._now += seconds
        return self._now


class TimerWheel(Generic[T]):
    """Timers with a resolution of one tick: never early, and at most one tick late if advanced every tick."""

    __slots__ = ("_current", "_due", "_start", "_tick_s")

    def __init__(self, tick_s: float = TICK_S, *, start: float) -> None:
        self._tick_s = tick_s
        self._start = start
        self._current = 0  # the last tick that was handed out
        self._due: dict[int, list[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def schedule(self, delay_s: float, item: T, *, now: float | None = None) -> None:
        """Hand `item` out `delay_s` seconds after `now`.

        Without `now` the wheel knows the time only to one tick, and adds that tick so as not to be early.
        """
        begin_s = (self._current + 1) * self._tick_s if now is None else now - self._start
        due = math.ceil((begin_s + delay_s) / self._tick_s - _ROUNDING)
        if due <= self._current:
            due = self._current + 1
        try:
            self._due[due].append(item)
        except KeyError:
            self._due[due] = [item]

    def advance(self, now: float) -> list[T]:
        """Return what is due by `now`, earlier ticks first, and within a tick in the order of scheduling."""
        reached = math.floor((now - self._start) / self._tick_s + _ROUNDING)
        items: list[T] = []
        for tick in self._ticks_until(reached):
            items += self._due.pop(tick)
        self._current = max(self._current, reached)
        return items

    def _ticks_until(self, reached: int) -> list[int]:
        if reached - self._current <= len(self._due):
            return [tick for tick in range(self._current + 1, reached + 1) if tick in self._due]
        return sorted(tick for tick in self._due if tick <= reached)  # after a long sleep of the host
