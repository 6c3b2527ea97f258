"""What a core may ask for: actions, which the runtime performs, and questions, which it answers.

A core's function returns a list of actions. A procedure that must wait for the world is an `async def` that awaits
questions and returns its last actions; the runtime, or a test, drives it by hand:

    >>> async def procedure():
    ...     answer = await SomeQuestion()
    ...     return [Respond(request, 403)]
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Hashable
from dataclasses import field
from typing import Any, Generic, TypeAlias, TypeVar

from opencscf.common.sip.flow import Flow
from opencscf.common.sip.message import Request, Response
from opencscf.common.values import value

A = TypeVar("A")


class Question(Generic[A]):
    """Something only the world can answer; `await` evaluates to the answer or raises `PeerUnavailable`."""

    __slots__ = ()

    def __await__(self) -> Generator[Question[A], A, A]:
        return (yield self)


@value
class Respond:
    """Answer a received request from here (RFC 3261 8.2.6)."""

    request: Request
    status: int
    reason: str = ""  # empty: the usual phrase for the status
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str = ""


@value
class Relay:
    """Send a response on towards its request's origin; its topmost Via names the server transaction (16.7 step 9)."""

    response: Response


@value
class Branch:
    """One copy of a request on its way out: Route and Request-URI are final, our own Via is not yet on it.

    `flow` sends it down a path known beforehand, such as the one a UE registered over, whatever the URIs say.
    """

    request: Request
    flow: Flow | None = None


@value
class RecordRoute:
    """Stay on the path of the dialog (16.6 step 4); the user parts are what this node will know the sides by.

    `inbound` faces the side the request came from, `outbound` the side it goes to. One header field value serves both
    when the names are equal and both sides are reached over the same listener; otherwise there are two (RFC 5658).
    """

    inbound: str
    outbound: str


ResponseHandler: TypeAlias = "Callable[[Response, float], Outcome]"


@value
class Forward:
    """Proxy a request statefully (clause 16), to several targets in parallel if there are several branches.

    Each branch is an edited copy; its topmost Via is still the one it was received with, which names the server
    transaction. Responses go back by themselves, unless `on_response` is given: it is called in order with each
    response that would go back (own Via already removed) and `now`, and decides what happens, usually `Relay`.
    An ACK is forwarded statelessly.
    """

    branches: tuple[Branch, ...]
    record_route: RecordRoute | None = None
    on_response: ResponseHandler | None = None


@value
class FinalResponse(Question[Response]):
    """Forward a request and wait for the final response it gets (16.7), own Via removed, not yet relayed.

    Provisional responses other than 100 are relayed meanwhile. When nothing answers, the answer is a 408; when no
    hop can be reached, `PeerUnavailable` is raised.
    """

    forward: Forward


@value
class Save(Question[None]):
    """Make a record durable; `await` returns once it is on disk. `value` is made of JSON types; None deletes it."""

    kind: str
    key: str
    value: dict[str, Any] | None  # JSON: what a record holds is its owner's business


@value
class SetTimer:
    """Tell the core `TimerFired(key)` in `delay_s` seconds (in steps of 0.1 s). Nothing cancels timers: check state."""

    key: Hashable
    delay_s: float


@value
class Report:
    """Tell the operator what happened: a lower-case event name and its fields, logged at `level`."""

    event: str
    fields: dict[str, str | int | float | None] = field(default_factory=dict)
    level: str = "info"


@value
class Procedure:
    """A coroutine to run, one at a time per `key` (None: at once); `request` is what an unforeseen fault answers."""

    key: Hashable | None
    coroutine: Coroutine[Question[Any], Any, list[Action]] = field(compare=False)
    request: Request | None = None


@value
class Start:
    """Begin a procedure that nobody waits for."""

    procedure: Procedure


Action: TypeAlias = Respond | Relay | Forward | SetTimer | Report | Start
Outcome: TypeAlias = "list[Action] | Procedure"
