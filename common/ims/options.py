"""Requests that name a CSCF and no user: it tells what it can do (RFC 3261 11.2) and serves nothing else (8.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opencscf.common.actions import Action, Respond
from opencscf.common.sip.content import unsupported_content

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request

SUPPORTED: Final = ("path", "outbound", "pref", "timer")  # RFC 3327, 5626, 3841, 4028
_ACCEPTED: Final = ("application/sdp",)
_ALLOW: Final = (("Allow", "OPTIONS, REGISTER"),)
_CAPABILITIES: Final = (
    *_ALLOW,
    ("Accept", ", ".join(_ACCEPTED)),
    ("Accept-Encoding", "identity"),
    ("Accept-Language", "en"),
    ("Supported", ", ".join(SUPPORTED)),
)


def answer_for_node(request: Request) -> list[Action]:
    """Answer a peer that wants to see whether we live; anything else is not for a node to take."""
    if request.method == "ACK":
        return []
    if request.to_tag is not None:
        return [Respond(request, 481)]
    if request.method != "OPTIONS":
        return [Respond(request, 405, headers=_ALLOW)]
    if unsupported := [option for option in request.values("Require") if option.lower() not in SUPPORTED]:
        return [Respond(request, 420, headers=(("Unsupported", ", ".join(unsupported)),))]  # 8.2.2.3
    if acceptable := unsupported_content(request, _ACCEPTED):
        return [Respond(request, 415, headers=acceptable)]  # 8.2.3
    return [Respond(request, 200, headers=_CAPABILITIES)]
