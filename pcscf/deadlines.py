"""When what nobody refreshes ends. Thousands of deadlines need one timer, and one that is dropped leaves nothing."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

SWEEP_S: Final = 10.0  # how often to look, and so how late an end may be


class Deadlines(Generic[T]):
    """Things by the ten seconds in which they end."""

    __slots__ = ("_ending_in", "_slot_of")

    def __init__(self) -> None:
        self._slot_of: dict[T, int] = {}
        self._ending_in: dict[int, dict[T, None]] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def set(self, item: T, ends_at: float) -> None:
        """Let something end at a time, whatever was said of it before."""
        slot = int(ends_at // SWEEP_S) + 1
        if self._slot_of.get(item) != slot:
            self.forget(item)
            self._slot_of[item] = slot
            self._ending_in.setdefault(slot, {})[item] = None

    def forget(self, item: T) -> None:
        """Let something have no end; what is not known is not missed."""
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            items = self._ending_in[slot]
            del items[item]
            if not items:
                del self._ending_in[slot]

    def due(self, now: float) -> list[T]:
        """Return what should have ended by now; it stays until it is forgotten."""
        last = int(now // SWEEP_S)
        return [item for slot in sorted(self._ending_in) if slot <= last for item in self._ending_in[slot]]
