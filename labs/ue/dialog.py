"""A UE's view of one dialog (RFC 3261 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencscf.common.sip.message import Message, Request, Response


@dataclass(slots=True)
class Dialog:
    """What requests within the dialog are written with; `local` and `remote` are From and To with their tags."""

    call_id: str
    local: str
    remote: str
    remote_target: str
    route_set: tuple[str, ...]
    cseq: int

    @classmethod
    def of_caller(cls, invite: Request, response: Response) -> Dialog:
        """Make the caller's dialog of the response that established it (12.1.2)."""
        return cls(
            call_id=invite.call_id,
            local=invite.get("From") or "",
            remote=response.get("To") or "",
            remote_target=_remote_target(response),
            route_set=tuple(reversed(response.values("Record-Route"))),
            cseq=invite.cseq.number,
        )

    @classmethod
    def of_callee(cls, invite: Request, local_tag: str) -> Dialog:
        """Make the callee's dialog of the request that asked for it (12.1.1)."""
        return cls(
            call_id=invite.call_id,
            local=f"{invite.get('To')};tag={local_tag}",
            remote=invite.get("From") or "",
            remote_target=_remote_target(invite),
            route_set=tuple(invite.values("Record-Route")),
            cseq=0,
        )

    def headers(self, method: str, cseq: int) -> list[tuple[str, str]]:
        """Write the header fields of a request in this dialog (12.2.1.1)."""
        return [
            *(("Route", route) for route in self.route_set),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]

    def next_cseq(self) -> int:
        """Count a new request."""
        self.cseq += 1
        return self.cseq


def _remote_target(message: Message) -> str:
    contacts = message.contacts
    return contacts[0].uri if contacts else message.from_.uri
