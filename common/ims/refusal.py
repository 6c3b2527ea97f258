"""A refusal that explains itself: to the caller in the reason phrase, to the operator in one log line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from opencscf.common.actions import Action, Report, Respond

if TYPE_CHECKING:
    from opencscf.common.errors import PeerUnavailable
    from opencscf.common.ims.register import Register
    from opencscf.common.sip.message import Request

Fields: TypeAlias = Mapping[str, str | int | float | None]
Headers: TypeAlias = tuple[tuple[str, str], ...]


def story(request: Request, **fields: str | float | None) -> dict[str, str | int | float | None]:
    """The fields that tell which transaction a line is about, and what else there is to say."""
    return {"call_id": request.get("Call-ID"), "cseq": request.get("CSeq"), **fields}


def refuse(
    request: Request, status: int, reason: str, fields: Fields, *, headers: Headers = (), level: str = "info"
) -> list[Action]:
    """Answer with a failure and say why; `fields` name the step, the peer and the identity."""
    about = {**story(request, status=status, reason=reason), **fields}
    return [Respond(request, status, reason, headers), Report("refused", about, level)]


def refuse_register(
    register: Register,
    status: int,
    reason: str,
    *,
    step: str,
    peer: str | None = None,
    headers: Headers = (),
    level: str = "info",
) -> list[Action]:
    """Refuse a registration: at which step, and which peer was involved."""
    about: dict[str, str | int | float | None] = {"step": step, "impi": register.impi, "impu": register.impu}
    if peer is not None:
        about["peer"] = peer
    return refuse(register.request, status, reason, about, headers=headers, level=level)


def hss_unavailable(register: Register, step: str, fault: PeerUnavailable) -> list[Action]:
    """Let the UE try again later (TS 24.229 5.3.1.3): the HSS gave no answer to this question."""
    return refuse_register(register, 504, "HSS unavailable", step=step, peer=str(fault), level="warning")
