"""What a server makes of a body that it does not understand (RFC 3261 8.2.3, 20.11). Pure.

Not covered: languages, as nobody reads what is sent to a node; bodies in several parts, which no node takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencscf.common.sip.params import parse_params

if TYPE_CHECKING:
    from collections.abc import Collection

    from opencscf.common.sip.message import Request


def unsupported_content(request: Request, accepted: Collection[str] = ()) -> tuple[tuple[str, str], ...]:
    """Return what a 415 has to tell of the media types and encodings that would do; nothing if the body may stay."""
    if not request.body or _is_optional(request):
        return ()
    headers = []
    if request.content_type not in accepted:
        headers.append(("Accept", ", ".join(accepted)))  # 20.1: an empty one is for no body at all
    if any(encoding.lower() != "identity" for encoding in request.values("Content-Encoding")):
        headers.append(("Accept-Encoding", "identity"))
    return tuple(headers)


def _is_optional(request: Request) -> bool:
    """Whether the sender leaves it to us to look at the body; otherwise it is required (20.11)."""
    _, semicolon, params = (request.get("Content-Disposition") or "").partition(";")
    return (parse_params(semicolon + params).get("handling") or "").lower() == "optional"
