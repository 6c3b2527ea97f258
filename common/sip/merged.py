"""Requests that reach one server on several paths, because a proxy has forked them (RFC 3261 8.2.2.2). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request

# T4, the longest time that a message stays in the network: what comes later is no copy of the same fork, but another
# attempt of a proxy that has heard nothing, and shall be served.
REMEMBERED_S: Final = 5.0
MAX_REMEMBERED: Final = 50_000  # in each of two halves; beyond this they are forgotten before their time


class RecentRequests:
    """The requests that a server has taken in the last 5 to 10 s; a retransmission does not come as far as here."""

    __slots__ = ("_former", "_latest", "_since")

    def __init__(self) -> None:
        self._latest: set[int] = set()
        self._former: set[int] = set()
        self._since = 0.0  # when `_latest` was begun

    def has_seen(self, request: Request, now: float) -> bool:
        """Tell whether another copy of a request outside of a dialog was here, and remember this one."""
        if not 0.0 <= now - self._since < REMEMBERED_S or len(self._latest) >= MAX_REMEMBERED:
            self._former = self._latest if 0.0 <= now - self._since < 2 * REMEMBERED_S else set()
            self._latest, self._since = set(), now
        key = hash((request.get("Call-ID"), request.get("CSeq"), request.from_tag))
        if key in self._latest or key in self._former:
            return True
        self._latest.add(key)
        return False
