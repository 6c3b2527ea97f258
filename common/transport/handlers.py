"""Shell: who hears what happens at the listeners of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from opencscf.common.errors import ParseError, StartupError
    from opencscf.common.sip.flow import Flow, Hop
    from opencscf.common.sip.message import Message
    from opencscf.common.transport.icmp import Undelivered


def _not_heard(*_: object) -> None:
    """Let something happen unnoticed."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who hears what happens; `failed` is never called from within `send`."""

    receive: Callable[[Message, Flow], None]
    malformed: Callable[[bytes, ParseError, Flow], None]
    failed: Callable[[Hop | Flow, str], None]
    lost: Callable[[Flow, str], None] = _not_heard  # a connection ended for a fault of the peer's, nothing else with it
    reloaded: Callable[[StartupError | None], None] = _not_heard  # certificate files changed; why they are no use
    delayed: Callable[[float], None] = _not_heard  # how many seconds the oldest of the datagrams now read had waited
    undelivered: Callable[[Undelivered], None] = _not_heard  # what ICMP tells; to be believed only if it is known
