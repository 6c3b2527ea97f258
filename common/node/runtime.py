"""The loop of a node: take an event, call the core, perform and log its actions.

There are no decisions here, no sockets and no waiting: everything the world does comes in by a method call and goes
out through the objects given to the constructor, so that three cores can also be joined in memory under a fake clock.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar, TypeVarTuple, assert_never

from opencscf.common.actions import (
    Action,
    Branch,
    FinalResponse,
    Forward,
    Procedure,
    Question,
    Relay,
    Report,
    Respond,
    SetTimer,
    Start,
)
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.events import Core, Event, RequestReceived, Started, TimerFired
from opencscf.common.node.way_back import WayBack
from opencscf.common.sip.exchange import MAX_UDP_BYTES, Exchange, Leg, Target, Targets
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import parse, parse_for_rejection
from opencscf.common.sip.proxy import next_hop_uri
from opencscf.common.sip.stack import SipStack

if TYPE_CHECKING:
    from opencscf.common.node.clock import Clock, TimerWheel
    from opencscf.common.sip.headers import Via
    from opencscf.common.sip.message import Message
    from opencscf.common.sip.timers import Timer
    from opencscf.common.sip.uri import SipUri
    from opencscf.common.transport.icmp import Undelivered

P = TypeVarTuple("P")
T = TypeVar("T")

# What a question gets: its answer, or why there is none.
Reply: TypeAlias = "Callable[[Any], None]"  # any question's answer type
Asker: TypeAlias = "Callable[[Any, Reply], None]"  # takes a question of its own type
# What the wheel holds: a timer of the stack's, or the key of one of the core's.
Due: TypeAlias = "tuple[Exchange | Leg, Timer] | tuple[None, Hashable]"

MAX_WAITING = 64  # procedures or responses that may queue behind one; a peer that causes more is broken or hostile


_ASKED: list[Action] = []  # what a step returns that has asked a question


class Wire(Protocol):
    """Where messages leave."""

    def send(self, data: bytes, target: Target) -> None:
        """Send; a failure comes back later through `Runtime.failed`."""
        ...

    def is_open(self, flow: Flow) -> bool:
        """Whether the connection of a flow is still there."""
        ...


class Resolver(Protocol):
    """Finds the hops of a URI (RFC 3263)."""

    def lookup(self, uri: SipUri, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        """Call back with at least one hop or the reason, at once if it is known."""
        ...

    def lookup_sent_by(self, via: Via, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        """Do the same for a response that cannot go back where its request came from (RFC 3263 5)."""
        ...

    def failed(self, hop: Hop) -> None:
        """Offer a hop last for a while, because it has just failed."""
        ...


class Log(Protocol):
    """Where the operator reads."""

    def event(self, level: str, event: str, **fields: object) -> None:
        """Log one event with its fields."""
        ...

    def message(self, direction: str, message: Message, target: Target) -> None:
        """Trace a message on the wire, if tracing is on."""
        ...


class _Running:
    """A procedure that has been started, or waits for its key."""

    __slots__ = ("coroutine", "exchange_key", "key", "request")

    def __init__(self, procedure: Procedure, exchange_key: str | None) -> None:
        self.key = procedure.key
        self.coroutine: Coroutine[Question[Any], Any, list[Action]] = procedure.coroutine
        self.request = procedure.request
        self.exchange_key = exchange_key  # whose further responses wait for this one


class _Search:
    """A request that is to be forwarded, and the targets found for its branches so far."""

    __slots__ = ("forward", "is_late", "missing", "request", "running", "targets")

    def __init__(self, forward: Forward, running: _Running | None) -> None:
        self.forward = forward
        self.request = forward.branches[0].request  # each branch names the transaction and tells the same story
        self.running = running
        self.targets: list[Targets] = [(branch.flow,) if branch.flow else () for branch in forward.branches]
        self.missing = self.targets.count(())
        self.is_late = False  # not all of them were found at once


class _Lookup:
    """A request that goes one way only, on its way to the resolver and back; called with what was found."""

    __slots__ = ("forward", "is_late", "result", "running", "runtime")

    def __init__(self, runtime: Runtime, forward: Forward, running: _Running | None) -> None:
        self.runtime = runtime
        self.forward = forward
        self.running = running
        self.result: Targets | None = None
        self.is_late = False

    def __call__(self, result: tuple[Hop, ...] | PeerUnavailable) -> None:
        self.result = result
        if self.is_late:
            self.runtime.found(self, result)


class _Decision(NamedTuple):
    """A response that the core wants to see."""

    exchange: Exchange
    response: Response


class Runtime:
    """Joins one core with its stack, its timers and the outside world."""

    def __init__(
        self,
        *,
        core: Core,
        stack: SipStack,
        wire: Wire,
        resolver: Resolver,
        askers: Mapping[type[Question[Any]], Asker],
        wheel: TimerWheel[Due],
        clock: Clock,
        log: Log,
    ) -> None:
        """Take the parts; `askers` answer the questions of their type."""
        self._core = core
        self._stack = stack
        self._wire = wire
        self._resolver = resolver
        self._askers = askers
        self._wheel = wheel
        self._clock = clock
        self._log = log
        self._waiting: dict[Hashable, deque[_Running]] = {}  # by procedure key; an empty deque: one is running
        self._resolving: set[str] = set()  # server transactions whose request waits for DNS
        self._undecided: dict[str, deque[_Decision]] = {}  # responses that wait behind a procedure of their exchange
        self._way_back = WayBack(wire, resolver, clock)
        stack.sink = self

    # ------------------------------------------------------------------ what the world does

    def start(self) -> None:
        """Tell the core that the node runs."""
        self._guarded(None, self._consult, Started(self._clock.now()))

    def receive(self, message: Message, flow: Flow) -> None:
        """Take a parsed message from a transport."""
        message.flow = flow
        self._guarded(message, self._receive, message, flow)

    def _receive(self, message: Message, flow: Flow) -> None:
        try:
            self._log.message("in", message, flow)
            self._stack.receive(message, self._clock.now())
        except ParseError as fault:  # in a header field that the stack itself reads: there is no transaction yet
            self._reject(message, fault, flow)

    def malformed(self, data: bytes, error: ParseError, flow: Flow) -> None:
        """Take bytes that are no message: answer them if they were a request that can be answered, else drop them."""
        self._guarded(None, self._reject_bytes, data, error, flow)

    def failed(self, target: Target, reason: str) -> None:
        """Take the news that a target cannot be reached."""
        self._log.event("warning", "unreachable", peer=str(target), reason=reason)
        self._guarded(None, self._stack.on_transport_failure, target, reason)
        if self._way_back and isinstance(target, Hop):
            self._guarded(None, self._way_back.failed, target)

    def undelivered(self, news: Undelivered) -> None:
        """Take what ICMP tells about a datagram; if it was a request that still is under way, it goes elsewhere."""
        self._guarded(None, self._undelivered, news)

    def _undelivered(self, news: Undelivered) -> None:
        leg = self._stack.find_undelivered(news.quote, news.remote)
        if leg is not None:
            self._log.event("warning", "unreachable", peer=str(leg.target), reason=news.reason)
            self._stack.fail(leg, news.reason)

    def tick(self) -> None:
        """Fire the timers that are due; call it every tick of the wheel."""
        now = self._clock.now()
        for owner, timer in self._wheel.advance(now):
            if owner is None:
                self._guarded(None, self._consult, TimerFired(timer, now))
            elif not owner.is_over:
                stack_timer: Timer = timer  # type: ignore[assignment]  # one with an owner is the stack's
                self._guarded(None, self._stack.on_timer, owner, stack_timer, now)

    def _reject_bytes(self, data: bytes, fault: ParseError, flow: Flow) -> None:
        self._reject(parse_for_rejection(data), fault, flow)

    def _reject(self, message: Message | None, fault: ParseError, flow: Flow) -> None:
        self._log.event("warning", "malformed", peer=str(flow), reason=fault.reason, offset=fault.offset)
        if isinstance(message, Request) and message.method != "ACK":
            message.flow = flow
            self._stack.refuse(message, fault.status, _phrase(fault.reason))

    # ------------------------------------------------------------------ what the stack wants

    def send(self, data: bytes, target: Target, message: Message | None) -> None:
        """Put a message on the wire."""
        if len(data) > MAX_UDP_BYTES and target.transport is Transport.UDP:
            self._log.event("warning", "too-large", peer=str(target), octets=len(data), **_story(message))
            return
        if message is None:
            message = parse(data)
        self._log.message("out", message, target)
        if isinstance(target, Flow) and target.connection and isinstance(message, Response):
            self._send_back(data, message, target)
        else:
            self._wire.send(data, target)

    def _send_back(self, data: bytes, response: Response, flow: Flow) -> None:
        """Send a response over the connection of its request, or another way if that is gone (18.2.2)."""
        if self._wire.is_open(flow):
            self._wire.send(data, flow)
        else:
            self._way_back.send(data, response, flow)

    def start_timer(self, owner: Exchange | Leg, timer: Timer, delay_s: float) -> None:
        """Put a timer of the stack on the wheel."""
        self._wheel.schedule(delay_s, (owner, timer), now=self._clock.now())

    def to_core(self, request: Request) -> None:
        """Let the core decide on a request."""
        self._guarded(request, self._consult, RequestReceived(request, self._clock.now()))

    def next_target(self, request: Request, failed: Target, reason: str, target: Target) -> None:
        """Tell that a request goes to another target, and offer the failed one last for a while."""
        self._log.event("warning", "next-target", peer=str(failed), reason=reason, next=str(target), **_story(request))
        if isinstance(failed, Hop):
            self._resolver.failed(failed)

    def abandon(self, exchange: Exchange) -> None:
        """Tell a procedure that the final response it waits for would find nobody."""
        running, exchange.resume = exchange.resume, None
        assert isinstance(running, _Running)  # noqa: S101  set below
        self._advance(running, PeerUnavailable("caller", "its transaction has ended"))

    def decide(self, exchange: Exchange, response: Response, *, is_final: bool) -> None:
        """Let the core see a response, in the order in which the responses of its exchange came."""
        if is_final and exchange.resume is not None:
            running, exchange.resume = exchange.resume, None
            assert isinstance(running, _Running)  # noqa: S101  set below
            unreachable = exchange.failure if response.status == 503 else None
            self._advance(running, unreachable or response)
            return
        queue = self._undecided.get(exchange.key) if self._undecided else None
        if queue is None:
            self._guarded(exchange.request, self._decide_now, exchange, response)
        elif len(queue) < MAX_WAITING:
            queue.append(_Decision(exchange, response))

    def _decide_now(self, exchange: Exchange, response: Response) -> None:
        if exchange.handler is None:
            self._stack.relay(response)
            return
        outcome = exchange.handler(response, self._clock.now())
        if isinstance(outcome, Procedure):
            self._undecided[exchange.key] = deque()
            self._begin(outcome, exchange.key)
        else:
            self._perform(outcome)

    def _decided(self, exchange_key: str) -> None:
        queue = self._undecided.pop(exchange_key)
        while queue:
            exchange, response = queue.popleft()
            self._guarded(exchange.request, self._decide_now, exchange, response)
            if exchange_key in self._undecided:  # it started a procedure again: the rest waits for that
                self._undecided[exchange_key].extend(queue)
                return

    # ------------------------------------------------------------------ what the core wants

    def _consult(self, event: Event) -> None:
        outcome = self._core.on_event(event)
        if isinstance(outcome, Procedure):
            self._begin(outcome)
        else:
            self._perform(outcome)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Relay):
                self._stack.relay(action.response)
            elif isinstance(action, Forward):
                self._forward(action, None)
            elif isinstance(action, Respond):
                self._stack.respond(action)
            elif isinstance(action, Report):
                self._log.event(action.level, action.event, **action.fields)
            elif isinstance(action, SetTimer):
                self._wheel.schedule(action.delay_s, (None, action.key))
            elif isinstance(action, Start):
                self._begin(action.procedure)
            else:
                assert_never(action)

    def _forward(self, forward: Forward, running: _Running | None) -> None:
        """Find where each branch goes, then let the stack send it."""
        branches = forward.branches
        if len(branches) == 1:
            self._forward_one(forward, branches[0], running)
            return
        search = _Search(forward, running)
        if not search.missing:
            self._forward_to(forward, search.targets, running)
            return
        uris = [next_hop_uri(branch.request) if branch.flow is None else None for branch in branches]
        for index, uri in enumerate(uris):
            if uri is not None:
                self._resolver.lookup(uri, partial(self._found, search, index))
        if search.missing:
            search.is_late = True
            self._resolving.add(search.request.transaction_id)
        else:
            self._forward_to(forward, search.targets, running)

    def _forward_one(self, forward: Forward, branch: Branch, running: _Running | None) -> None:
        """Forward a request that goes one way only, as nearly all do."""
        if branch.flow is not None:
            self._forward_to(forward, [(branch.flow,)], running)
            return
        lookup = _Lookup(self, forward, running)
        self._resolver.lookup(next_hop_uri(branch.request), lookup)
        if lookup.result is None:
            lookup.is_late = True
            self._resolving.add(branch.request.transaction_id)
        else:
            self.found(lookup, lookup.result)

    def found(self, lookup: _Lookup, result: Targets) -> None:
        """Forward a request to where a lookup has found that it goes."""
        if isinstance(result, PeerUnavailable):
            self._log.event("warning", "unresolved", peer=result.peer, reason=result.reason)
        if lookup.is_late:
            request = lookup.forward.branches[0].request
            self._resolving.discard(request.transaction_id)
            self._guarded(request, self._forward_to, lookup.forward, [result], lookup.running)
        else:
            self._forward_to(lookup.forward, [result], lookup.running)

    def _found(self, search: _Search, index: int, result: tuple[Hop, ...] | PeerUnavailable) -> None:
        if isinstance(result, PeerUnavailable):
            self._log.event("warning", "unresolved", peer=result.peer, reason=result.reason)
        search.targets[index] = result
        search.missing -= 1
        if search.is_late and not search.missing:
            self._resolving.discard(search.request.transaction_id)
            self._guarded(search.request, self._forward_to, search.forward, search.targets, search.running)

    def _forward_to(self, forward: Forward, targets: list[Targets], running: _Running | None) -> None:
        is_waiting = self._stack.forward(forward, targets, self._clock.now(), running)
        if running is not None and not is_waiting:
            self._advance(running, PeerUnavailable("caller", "its transaction has ended"))

    # ------------------------------------------------------------------ procedures

    def _begin(self, procedure: Procedure, exchange_key: str | None = None) -> None:
        running = _Running(procedure, exchange_key)
        if running.key is None:
            self._advance(running, None)
            return
        queue = self._waiting.get(running.key)
        if queue is None:
            self._waiting[running.key] = deque()
            self._advance(running, None)
        elif len(queue) < MAX_WAITING:
            queue.append(running)
        else:
            running.coroutine.close()
            self._log.event("warning", "overloaded", key=str(running.key), waiting=len(queue))
            if running.request is not None:
                self._perform([Respond(running.request, 503, headers=(("Retry-After", "5"),))])
            self._release_exchange(running)

    def _advance(self, running: _Running, value: object) -> None:
        """Give a procedure what it waits for, and see what it asks or does next."""
        outcome = self._guarded(running.request, self._step, running, value)
        if outcome is not _ASKED:
            running.coroutine.close()  # of no effect unless the question could not be asked
            self._finish(running, outcome or [])

    def _step(self, running: _Running, value: object) -> list[Action]:
        """Run a procedure to its end, and return its last actions, or to its next question, and ask that."""
        coroutine = running.coroutine
        try:
            question = coroutine.throw(value) if isinstance(value, Exception) else coroutine.send(value)
        except StopIteration as end:
            actions: list[Action] = end.value
            return actions
        if isinstance(question, FinalResponse):
            self._forward(question.forward, running)
        else:
            self._askers[type(question)](question, partial(self._advance, running))
        return _ASKED

    def _finish(self, running: _Running, actions: list[Action]) -> None:
        if actions:
            self._guarded(running.request, self._perform, actions)
        self._check_answered(running.request)
        if running.key is not None:
            queue = self._waiting[running.key]
            if queue:
                self._advance(queue.popleft(), None)
            else:
                del self._waiting[running.key]
        self._release_exchange(running)

    def _release_exchange(self, running: _Running) -> None:
        if running.exchange_key is not None:
            self._decided(running.exchange_key)

    def _check_answered(self, request: Request | None) -> None:
        """Answer 500 for a procedure that ended without an answer: the transaction would never end."""
        if request is None or request.method == "ACK" or not self._stack.is_unanswered(request):
            return
        if request.transaction_id not in self._resolving:
            self._log.event("error", "unanswered", method=request.method, call_id=request.call_id)
            self._perform([Respond(request, 500)])

    # ------------------------------------------------------------------ faults

    def _guarded(self, message: Message | None, step: Callable[[*P], T], *args: *P) -> T | None:
        """Run a step of somebody's decision about a message; a fault ends its transaction and nothing else."""
        try:
            return step(*args)
        except Exception as fault:  # noqa: BLE001 - the only place
            self._on_fault(message, fault)
        return None

    def _on_fault(self, message: Message | None, fault: Exception) -> None:
        if isinstance(fault, ParseError):
            self._log.event("warning", "malformed", reason=fault.reason, **_story(message))
            self._refuse(message, fault.status, _phrase(fault.reason))
        elif isinstance(fault, PeerUnavailable):
            self._log.event("warning", "unavailable", peer=fault.peer, reason=fault.reason, **_story(message))
            self._refuse(message, 504, "")
        else:
            story = "".join(traceback.format_exception(fault))
            self._log.event("error", "fault", traceback=story, **_story(message))
            self._refuse(message, 500, "")

    def _refuse(self, message: Message | None, status: int, reason: str) -> None:
        if isinstance(message, Request) and message.method != "ACK":
            self._stack.respond(Respond(message, status, reason))


def _story(message: Message | None) -> dict[str, object]:
    """What tells an operator which message a line is about; a message that cannot be read has no story."""
    if message is None:
        return {}
    return {"call_id": message.get("Call-ID"), "cseq": message.get("CSeq"), "what": message.start_line}


def _phrase(reason: str) -> str:
    """Make a reason fit for a status line: printable ASCII, no line ends (RFC 3261 25.1)."""
    return "".join(character for character in reason if " " <= character <= "~")[:100]
