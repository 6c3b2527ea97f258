"""The search for the highest rate that a core keeps up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GROWTH: Final = 2.0
STEPS: Final = 8  # upwards
DESCENTS: Final = 3  # if even the first rate is too high
HALVINGS: Final = 3  # between the last rate that went well and the first that did not


async def search(goes_well: Callable[[float], Awaitable[bool]], rate: float) -> float:
    """Find the highest rate that goes well, 0 if there is none: by doubling, or halving at first, then in between."""
    best, failed = 0.0, 0.0
    for _ in range(STEPS):
        if not await goes_well(rate):
            failed = rate
            break
        best, rate = rate, round(rate * GROWTH)
    for _ in range(0 if best else DESCENTS):
        rate = round(rate / GROWTH)
        if await goes_well(rate):
            best = rate
            break
        failed = rate
    for _ in range(HALVINGS if best and failed else 0):
        middle = round((best + failed) / 2)
        if await goes_well(middle):
            best = middle
        else:
            failed = middle
    return best
