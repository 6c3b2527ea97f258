"""The layers of RFC 3261 joined: messages in, what must be sent and what the core must hear out. Pure.

Every method returns effects in the order in which they must happen. A request that reaches the core is new, valid
enough to be forwarded (16.3) and no CANCEL: retransmissions, ACKs to failures, CANCEL, 100 Trying, Via, Max-Forwards,
Record-Route, forking, Timer C and the choice of the best response (16.7) are handled here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.sip import proxy
from opencscf.common.sip.exchange import (
    Decide,
    Effect,
    Exchange,
    Leg,
    NextTarget,
    Send,
    Spare,
    StartStackTimer,
    Target,
    Targets,
    ToCore,
)
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.matching import TransactionTable
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.timers import Timer, TimerValues
from opencscf.common.sip.transaction import (
    Deliver,
    DeliverAck,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    Output,
    StartTimer,
    Terminated,
    TimedOut,
    Transmit,
    TransportFailed,
    cancel_request,
)

if TYPE_CHECKING:
    from opencscf.common.actions import Forward, RecordRoute, Respond
    from opencscf.common.ids import Ids

_OWN_BYTES = 250  # about what our Via and Record-Route add to a request
_WHY_GIVEN_UP = {408: "does not answer", 503: "cannot be reached"}  # for which another target is tried
MAX_SERVER_TRANSACTIONS = 50_000  # beyond this new requests are answered 503 without state
RETRY_AFTER_S = 5  # what such a 503 asks for


class SipStack:
    """Transactions and proxying of one node."""

    def __init__(
        self,
        *,
        ids: Ids,
        timers: TimerValues,
        local_for: Callable[[Target], tuple[str, int]],
        max_udp_request_bytes: Callable[[Hop], int] | None = None,
        refuses: Callable[[Request], int | None] | None = None,
    ) -> None:
        """Take the source of branches and tags, the timer values and the listener address that faces a target.

        `max_udp_request_bytes` says from which size on a request to a UDP hop goes over TCP; without it none does.
        `refuses` says for how many seconds a new request is turned away, because there is too much to do.
        """
        self._ids = ids
        self._timers = timers
        self._impatient = timers.with_another_target()
        self._local_for = local_for
        self._max_udp_request_bytes = max_udp_request_bytes
        self._refuses = refuses
        self._table: TransactionTable[Leg, Exchange] = TransactionTable()
        self._now = 0.0  # of the input being worked on

    @property
    def server_transactions(self) -> int:
        """How many server transactions are alive."""
        return len(self._table.servers)

    @property
    def client_transactions(self) -> int:
        """How many client transactions are alive."""
        return len(self._table.clients)

    # ------------------------------------------------------------------ from the wire

    def receive(self, message: Message, now: float) -> list[Effect]:
        """Take a parsed message; its `flow` says where it came from."""
        self._now = now
        if isinstance(message, Request):
            return self._receive_request(message)
        assert isinstance(message, Response)  # noqa: S101  there is no third kind
        return self._receive_response(message)

    def _receive_request(self, request: Request) -> list[Effect]:
        note_source(request)
        exchange = self._table.find_server(request)
        if exchange is not None:
            return self._from_server(exchange, exchange.transaction.on_request(request))
        if request.method == "ACK":
            return [ToCore(request)] if proxy.validate(request) is None else []
        retry_after_s = self._refuses(request) if self._refuses is not None else None
        if retry_after_s is None and len(self._table.servers) >= MAX_SERVER_TRANSACTIONS:
            retry_after_s = RETRY_AFTER_S
        if retry_after_s is not None:
            return [self.stateless_response(request, 503, headers=(("Retry-After", str(retry_after_s)),))]
        refusal = proxy.validate(request)
        exchange = self._open(request)
        if request.method == "CANCEL":
            return self._receive_cancel(exchange)
        if refusal is not None:
            return self._answer(exchange, refusal.status, refusal.reason, refusal.headers)
        if request.method == "INVITE":
            return [*self._answer(exchange, 100), ToCore(request)]
        return [ToCore(request)]

    def _open(self, request: Request) -> Exchange:
        flow = request.flow
        assert flow is not None  # noqa: S101  the transport sets it on every message
        machine = InviteServerTransaction if request.method == "INVITE" else NonInviteServerTransaction
        transaction = machine(request, reliable=flow.transport.is_reliable, timers=self._timers)
        exchange = Exchange(request, transaction, response_target(request, flow))
        self._table.add_server(transaction, exchange)
        return exchange

    def _receive_cancel(self, cancel: Exchange) -> list[Effect]:
        invite = self._table.find_cancelled(cancel.request)
        if invite is None:
            return self._answer(cancel, 481)
        effects = self._answer(cancel, 200)  # 9.2, 16.10
        invite.is_cancelled = True
        if invite.context is not None:
            effects += self._carry_out(invite, invite.context.on_cancel())
        return effects

    def _receive_response(self, response: Response) -> list[Effect]:
        leg = self._table.find_client(response)
        if leg is None:
            return []  # a stray response is not forwarded (RFC 6026 7.3)
        leg.progress_at = self._now
        return self._from_client(leg, leg.transaction.on_response(response))

    # ------------------------------------------------------------------ from the core

    def respond(self, action: Respond) -> list[Effect]:
        """Answer a request from here (8.2.6); one that is no longer waiting is left alone."""
        exchange = self._table.find_server(action.request)
        if exchange is None:
            return []
        headers = action.headers
        return self._answer(exchange, action.status, action.reason, headers, action.body, action.content_type)

    def relay(self, response: Response) -> list[Effect]:
        """Send a response, own Via removed, to where its request came from (16.7 step 9)."""
        exchange = self._table.find_server(response)
        if exchange is None:
            return []
        return self._reply(exchange, response)

    def is_unanswered(self, request: Request) -> bool:
        """Whether the request still waits for somebody to answer or forward it."""
        exchange = self._table.find_server(request)
        return exchange is not None and exchange.context is None and not exchange.is_answered

    def forward(self, forward: Forward, targets: list[Targets], now: float, resume: object = None) -> list[Effect]:
        """Proxy a request to the targets found for its branches (16.6); `resume` waits for the final response.

        A branch goes to its first target, and to the next one when that cannot be reached, does not answer, or answers
        503 (RFC 3263 4.3).
        """
        self._now = now
        first = forward.branches[0].request
        if first.method == "ACK":
            return self._forward_ack(forward, targets)
        exchange = self._table.find_server(first)
        if exchange is None:
            return []
        if exchange.is_cancelled:  # the CANCEL came while the core was still deciding
            return self._refuse_to_forward(exchange, 487, resume)
        mark = ""
        if len(targets) > 1 or first.has("Max-Breadth"):
            mark = proxy.loop_mark(exchange.request)
            refusal = proxy.check_fork(exchange.request, mark, len(targets))
            if refusal is not None:
                return self._refuse_to_forward(exchange, refusal.status, resume)
            share_breadth(forward, exchange.request)
        is_invite = first.method == "INVITE"
        exchange.forward = forward
        exchange.mark = f"-{mark}" if mark else ""
        exchange.resume = resume
        exchange.failure = None
        exchange.context = proxy.ResponseContext(len(targets), is_invite=is_invite)
        effects: list[Effect] = []
        for index, (branch, found) in enumerate(zip(forward.branches, targets, strict=True)):
            if isinstance(found, PeerUnavailable):
                effects += self._fail_branch(exchange, index, found)
            else:
                effects += self._try(exchange, index, branch.request, self._over_tcp_if_large(branch.request, found))
        return effects

    def _refuse_to_forward(self, exchange: Exchange, status: int, resume: object) -> list[Effect]:
        refusal = self._make(exchange, status)
        return self._reply(exchange, refusal) if resume is None else [Decide(exchange, refusal, is_final=True)]

    def _forward_ack(self, forward: Forward, targets: list[Targets]) -> list[Effect]:
        return [
            Send(self._prepare(forward, branch.request, None, found[0]), found[0])
            for branch, found in zip(forward.branches, targets, strict=True)
            if not isinstance(found, PeerUnavailable)
        ]

    def _over_tcp_if_large(self, request: Request, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Send what might not fit into a packet over TCP, and over UDP only if that cannot be had (18.1.1)."""
        limit_of = self._max_udp_request_bytes
        first = targets[0]
        if limit_of is None or not isinstance(first, Hop) or first.transport is not Transport.UDP:
            return targets
        if request.size + _OWN_BYTES <= limit_of(first):
            return targets
        return tuple(other for target in targets for other in _with_tcp(target))

    def _try(self, exchange: Exchange, branch: int, request: Request, targets: tuple[Target, ...]) -> list[Effect]:
        """Send a branch to the first of its targets."""
        assert exchange.forward is not None  # noqa: S101
        spare = Spare(request.copy(), targets[1:]) if len(targets) > 1 else None
        prepared = self._prepare(exchange.forward, request, exchange.request.flow, targets[0], exchange.mark)
        return self._start_client(exchange, branch, prepared, targets[0], spare)

    def _try_next(self, leg: Leg, reason: str) -> list[Effect] | None:
        """Send a branch whose target has failed to its next one; None if there is none, or no need any more."""
        context, spare, leg.spare = leg.exchange.context, leg.spare, None
        if spare is None or context is None or leg.exchange.is_cancelled or not context.is_pending(leg.branch):
            return None
        if leg.cancelled_at is not None or context.is_answered:
            return None
        context.on_next_target(leg.branch)
        news = NextTarget(spare.request, leg.target, reason, spare.targets[0])
        return [news, *self._try(leg.exchange, leg.branch, spare.request, spare.targets)]

    def _prepare(
        self, forward: Forward, request: Request, inbound: Flow | None, target: Target, mark: str = ""
    ) -> Request:
        """Finish a copy for the wire: 16.6 steps 3, 4 and 8."""
        proxy.count_down_max_forwards(request)
        host, port = self._local_for(target)
        if forward.record_route is not None and inbound is not None:
            self._record_route(forward.record_route, request, inbound, target)
        request.prepend(
            "Via", f"SIP/2.0/{target.transport} {proxy.sent_by(host, port)};branch={self._ids.branch()}{mark}"
        )
        return request

    def _record_route(self, names: RecordRoute, request: Request, inbound: Flow, target: Target) -> None:
        is_sips = target.transport.is_secured and proxy.is_for_sips(request)
        near = proxy.record_route_uri(names.inbound, self._local_for(inbound), inbound.transport, is_sips=is_sips)
        far = proxy.record_route_uri(names.outbound, self._local_for(target), target.transport, is_sips=is_sips)
        if near != far:
            request.prepend("Record-Route", near)
        request.prepend("Record-Route", far)

    # ------------------------------------------------------------------ from the clock and the transports

    def on_timer(self, owner: Exchange | Leg, timer: Timer, now: float) -> list[Effect]:
        """Take a timer that was started with `StartStackTimer`; one that outlived its state does nothing."""
        self._now = now
        if isinstance(owner, Exchange):
            return self._from_server(owner, owner.transaction.on_timer(timer))
        if timer is Timer.C:
            return self._on_timer_c(owner)
        return self._from_client(owner, owner.transaction.on_timer(timer))

    def on_transport_failure(self, target: Target, reason: str) -> list[Effect]:
        """End what was just being sent to a target that cannot be reached (8.1.3.1, 17.1.4)."""
        failed = [leg for leg in self._table.clients if leg.target == target]
        effects: list[Effect] = []
        for leg in failed:
            leg.exchange.failure = PeerUnavailable(str(target), reason)
            effects += self._from_client(leg, leg.transaction.on_transport_error())
        return effects

    def on_too_large(self, request: Request) -> list[Effect]:
        """End the one transaction whose request fits into no datagram (18.1.1, 21.5.7); its target can be reached."""
        leg = self._table.find_client(request)
        if leg is None:
            return []
        leg.transaction.on_transport_error()
        self._table.remove_client(leg.transaction)
        return self._give_up(leg, 513)

    def _on_timer_c(self, leg: Leg) -> list[Effect]:
        context = leg.exchange.context
        if context is None or not context.is_pending(leg.branch):
            return []
        if leg.cancelled_at is not None:
            ends_at = leg.cancelled_at + 64 * self._timers.t1  # 9.1: then the INVITE counts as cancelled
        else:
            ends_at = leg.progress_at + self._timers.timer_c
        if ends_at > self._now:
            return [StartStackTimer(leg, Timer.C, ends_at - self._now)]
        if leg.cancelled_at is None:
            return self._carry_out(leg.exchange, context.on_timer_c(leg.branch))
        self._end_leg(leg)
        return self._give_up(leg, 408)

    # ------------------------------------------------------------------ transactions' outputs

    def _from_server(self, exchange: Exchange, outputs: list[Output]) -> list[Effect]:
        effects: list[Effect] = []
        for output in outputs:
            if isinstance(output, Transmit):
                effects.append(Send(output.message, exchange.target))
            elif isinstance(output, StartTimer):
                effects.append(StartStackTimer(exchange, output.timer, output.delay_s))
            elif isinstance(output, DeliverAck):
                effects.append(ToCore(output.message))
            elif isinstance(output, Terminated):
                self._table.remove_server(exchange.transaction)
                exchange.release()
        return effects

    def _from_client(self, leg: Leg, outputs: list[Output]) -> list[Effect]:
        effects: list[Effect] = []
        for output in outputs:
            if isinstance(output, Transmit):
                effects.append(Send(output.message, leg.target))
            elif isinstance(output, StartTimer):
                effects.append(StartStackTimer(leg, output.timer, output.delay_s))
            elif isinstance(output, Deliver):
                effects += self._deliver(leg, output.message)
            elif isinstance(output, TimedOut):
                effects += self._give_up(leg, 408)
            elif isinstance(output, TransportFailed):
                effects += self._give_up(leg, 503)
            elif isinstance(output, Terminated):
                self._end_leg(leg)
        return effects

    def _end_leg(self, leg: Leg) -> None:
        self._table.remove_client(leg.transaction)
        leg.request = leg.spare = None
        if leg.exchange.legs.get(leg.branch) is leg:
            del leg.exchange.legs[leg.branch]

    def _deliver(self, leg: Leg, response: Response) -> list[Effect]:
        context = leg.exchange.context
        if leg.branch < 0 or context is None:
            return []
        if response.status == 503 and (effects := self._try_next(leg, "answers 503")) is not None:
            return effects
        upstream = response.copy()
        upstream.remove_first_value("Via")  # 16.7 step 3
        if not upstream.has("Via"):
            return []
        upstream.assign_to(leg.exchange.key)  # step 9
        return self._carry_out(leg.exchange, context.on_response(leg.branch, upstream))

    def _give_up(self, leg: Leg, status: int) -> list[Effect]:
        """Treat a branch that failed by itself as if it had answered (16.7 step 2, 16.8, 16.9)."""
        context = leg.exchange.context
        if leg.branch < 0 or context is None or not context.is_pending(leg.branch):
            return []
        reason = _WHY_GIVEN_UP.get(status)
        if reason is not None and (effects := self._try_next(leg, reason)) is not None:
            return effects
        if leg.exchange.is_cancelled:
            status = 487
        return self._carry_out(leg.exchange, context.on_response(leg.branch, self._make(leg.exchange, status)))

    def _fail_branch(self, exchange: Exchange, branch: int, failure: PeerUnavailable) -> list[Effect]:
        assert exchange.context is not None  # noqa: S101
        exchange.failure = failure
        return self._carry_out(exchange, exchange.context.on_response(branch, self._make(exchange, 503)))

    def _carry_out(self, exchange: Exchange, verdicts: list[proxy.Verdict]) -> list[Effect]:
        effects: list[Effect] = []
        for verdict in verdicts:
            if isinstance(verdict, proxy.RelayUpstream):
                effects += self._back(exchange, verdict.response)
            elif verdict.branch in exchange.legs:
                effects += self._cancel(exchange.legs[verdict.branch])
        return effects

    def _back(self, exchange: Exchange, response: Response) -> list[Effect]:
        """Let a response go back: through the core if it asked for that, else at once."""
        is_final = response.status >= 200
        forward = exchange.forward
        if (exchange.resume is not None and is_final) or (forward is not None and forward.on_response is not None):
            return [Decide(exchange, response, is_final)]
        if response.status == 503:
            response = self._make(exchange, 500, "Next hop unavailable")  # 16.7 step 6
        return self._reply(exchange, response)

    def _start_client(
        self, exchange: Exchange, branch: int, request: Request, target: Target, spare: Spare | None = None
    ) -> list[Effect]:
        is_invite = request.method == "INVITE"
        machine = InviteClientTransaction if is_invite else NonInviteClientTransaction
        key = request.via.branch or ""  # ours, or its INVITE's
        timers = self._timers if spare is None else self._impatient
        transaction = machine(request, key=key, reliable=target.transport.is_reliable, timers=timers)
        leg = Leg(exchange, branch, request, transaction, target, self._now)
        leg.spare = spare
        self._table.add_client(transaction, leg)
        if branch >= 0:
            exchange.legs[branch] = leg
        effects = self._from_client(leg, transaction.start())
        if is_invite:
            effects.append(StartStackTimer(leg, Timer.C, self._timers.timer_c))
        return effects

    def _cancel(self, leg: Leg) -> list[Effect]:
        """Send CANCEL after the INVITE of a branch, and wait no longer than 64*T1 for its end (9.1)."""
        assert leg.request is not None  # noqa: S101  a leg of the exchange has not ended
        leg.cancelled_at = self._now
        effects = self._start_client(leg.exchange, -1, cancel_request(leg.request), leg.target)
        return [*effects, StartStackTimer(leg, Timer.C, 64 * self._timers.t1)]

    # ------------------------------------------------------------------ own responses

    def _answer(
        self,
        exchange: Exchange,
        status: int,
        reason: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> list[Effect]:
        return self._reply(exchange, self._make(exchange, status, reason, headers, body, content_type))

    def _reply(self, exchange: Exchange, response: Response) -> list[Effect]:
        if response.status == 408 and exchange.request.method != "INVITE":
            # RFC 4320 4.2: by now the sender has given up too, and would take a late 408 for somebody else's
            self._table.remove_server(exchange.transaction)
            exchange.release()
            return []
        if response.status >= 200:
            exchange.is_answered = True
        return self._from_server(exchange, exchange.transaction.respond(response))

    def _make(
        self,
        exchange: Exchange,
        status: int,
        reason: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> Response:
        if status > 100 and not exchange.to_tag:
            exchange.to_tag = self._ids.tag()
        return Response.to_request(
            exchange.request, status, reason,
            to_tag=exchange.to_tag, headers=headers, body=body, content_type=content_type,
        )  # fmt: skip

    def stateless_response(
        self, request: Request, status: int, reason: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> Send:
        """Answer a request without keeping anything of it (8.2.7), such as one that could not be parsed whole."""
        assert request.flow is not None  # noqa: S101
        response = Response.to_request(request, status, reason, to_tag=self._ids.tag(), headers=headers)
        return Send(response, response_target(request, request.flow))


def share_breadth(forward: Forward, received: Request) -> None:
    """Share what is left of a request's breadth among its branches (RFC 5393 5.3.3.2)."""
    breadth, number = proxy.breadth_of(received), len(forward.branches)
    for index, branch in enumerate(forward.branches):
        branch.request.set("Max-Breadth", str(breadth // number + (index < breadth % number)))


def note_source(request: Request) -> None:
    """Write where a request came from into its topmost Via: received and rport (18.2.1, RFC 3581 4)."""
    flow = request.flow
    assert flow is not None  # noqa: S101
    via = request.via
    host, port = flow.remote
    if via.has_rport:
        request.replace_via(via.with_params(received=host, rport=port))
    elif via.host != host:
        request.replace_via(via.with_params(received=host))


def response_target(request: Request, flow: Flow) -> Target:
    """Where the responses to a request go (18.2.2, RFC 3581 4)."""
    if flow.transport is not Transport.UDP:
        return flow
    try:
        via = request.via
    except ParseError:
        return flow  # where it came from is all that is known
    if via.has_rport:
        return flow
    return flow._replace(remote=(flow.remote[0], via.port or proxy.DEFAULT_PORT))


def _with_tcp(target: Target) -> tuple[Target, ...]:
    """Offer TCP before UDP at the same address."""
    if isinstance(target, Hop) and target.transport is Transport.UDP:
        return (target._replace(transport=Transport.TCP), target)
    return (target,)
