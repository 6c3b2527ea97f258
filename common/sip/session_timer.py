"""Session timers as a proxy takes part in them (RFC 4028 8): what to ask for, and what was agreed on. Pure.

The UAs keep the session alive with re-INVITE or UPDATE; a proxy learns from their 2xx until when it may count on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from opencscf.common.errors import ParseError
from opencscf.common.sip.headers import MAX_EXPIRES_S
from opencscf.common.sip.proxy import Refusal

if TYPE_CHECKING:
    from opencscf.common.sip.message import Message, Request, Response

REFRESHING: Final = frozenset({"INVITE", "UPDATE"})  # RFC 4028 7.4: the methods that keep a session alive
LEAST_MIN_SE_S: Final = 90  # 5: also what an absent Min-SE means
TIMER: Final = "timer"  # the option tag


class Asked(NamedTuple):
    """What a proxied request asks for, and whether its sender can keep a session alive (8.1, last paragraphs)."""

    interval_s: int
    is_supported: bool


def ask(request: Request, *, interval_s: int, min_s: int) -> Asked | Refusal | None:
    """Take part in what a request, which is ours to edit, asks for (8.1); None if there is to be no session timer.

    `interval_s` is what we ask for if nobody asks for less, 0 for nothing; below `min_s` (90 at least) we do not agree.
    """
    text = request.get("Session-Expires")
    if text is None and not interval_s:
        return None
    min_se_s = max(_min_se(request), LEAST_MIN_SE_S)
    is_supported = TIMER in _options(request, "Supported")
    if text is None:
        asked_s = max(interval_s, min_se_s)
        request.append("Session-Expires", str(asked_s))
        return Asked(asked_s, is_supported)
    wanted_s = _seconds(text)
    if wanted_s < min_s:
        if is_supported:
            return Refusal(422, "", (("Min-SE", str(min_s)),))
        if min_s > min_se_s or not request.has("Min-SE"):
            min_se_s = max(min_se_s, min_s)
            request.set("Min-SE", str(min_se_s))
    asked_s = max(min(wanted_s, interval_s or wanted_s), min_se_s)
    if asked_s != wanted_s:
        request.set("Session-Expires", f"{asked_s}{''.join(text.partition(';')[1:])}")  # the refresher stays
    return Asked(asked_s, is_supported)


def agreed(response: Response, asked: Asked | None) -> int | None:
    """Return how long the session lasts from this 2xx on unless it is refreshed (8.2); None if it knows no end.

    The response is ours to edit: a UAC that wants a session timer hears of it even if the UAS does not know any.
    """
    text = response.get("Session-Expires")
    if text is not None:
        try:
            return max(_seconds(text), LEAST_MIN_SE_S)
        except ParseError:
            return None
    if asked is None or not asked.is_supported:
        return None
    response.append("Session-Expires", f"{asked.interval_s};refresher=uac")
    if TIMER not in _options(response, "Require"):
        response.append("Require", TIMER)
    return asked.interval_s


def _min_se(request: Request) -> int:
    text = request.get("Min-SE")
    return _seconds(text) if text is not None else 0


def _seconds(text: str) -> int:
    digits = text.partition(";")[0].strip()
    if not (digits.isascii() and digits.isdecimal()):
        raise ParseError("a session interval is a number of seconds")
    return min(int(digits), MAX_EXPIRES_S) if len(digits) <= 10 else MAX_EXPIRES_S


def _options(message: Message, name: str) -> set[str]:
    return {value.lower() for value in message.values(name)} if message.has(name) else set()
