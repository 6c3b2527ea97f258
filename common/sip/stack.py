"""The layers of RFC 3261 joined: messages in, what must be sent and what the core must hear out. Pure.

What must happen is told to the `Sink`, in the order in which it must. A request that reaches the core is new, valid
enough to be forwarded (16.3) and no CANCEL: retransmissions, ACKs to failures, CANCEL, 100 Trying, Via, Max-Forwards,
Record-Route, forking, Timer C and the choice of the best response (16.7) are handled here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip import proxy
from opencscf.common.sip.exchange import Exchange, Leg, Sink, Spare, Target, Targets
from opencscf.common.sip.flow import Flow, Hop, Transport, is_towards
from opencscf.common.sip.matching import TransactionTable
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.preferences import directives
from opencscf.common.sip.response_path import note_source, response_target
from opencscf.common.sip.timers import Timer, TimerValues
from opencscf.common.sip.transaction import (
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    State,
    cancel_request,
)

if TYPE_CHECKING:
    from opencscf.common.actions import Forward, RecordRoute, Respond
    from opencscf.common.ids import Ids

_OWN_BYTES = 250  # about what our Via and Record-Route add to a request
_WHY_GIVEN_UP = {408: "does not answer", 503: "cannot be reached"}  # for which another target is tried
MAX_SERVER_TRANSACTIONS = 50_000  # without an answer; beyond this new requests are answered 503 without state
MAX_ANSWERED = 100_000  # that wait for retransmissions; beyond this the oldest are forgotten before their time
RETRY_AFTER_S = 5  # what a 503 asks for

_UNHEARD = frozenset({State.CALLING, State.TRYING})  # of a client transaction: there was no response yet
_UDP, _TIMER_C, _TIMER_TRYING = Transport.UDP, Timer.C, Timer.TRYING
_TRYING, _PROCEEDING = State.TRYING, State.PROCEEDING


class SipStack:
    """Transactions and proxying of one node."""

    sink: Sink  # whoever does what the stack wants; set before the first message comes

    def __init__(
        self,
        *,
        ids: Ids,
        timers: TimerValues,
        local_for: Callable[[Target], tuple[str, int]],
        max_udp_request_bytes: Callable[[Hop], int] | None = None,
        refuses: Callable[[Request], int | None] | None = None,
        towards_ue: TimerValues | None = None,
        is_from_ue: Callable[[Request], bool] | None = None,
    ) -> None:
        """Take the source of branches and tags, the timer values and the listener address that faces a target.

        `max_udp_request_bytes` says from which size on a request to a UDP hop goes over TCP; without it none does.
        `refuses` says for how many seconds a new request is turned away, because there is too much to do. A P-CSCF has
        other timers `towards_ue`: for requests that go down a flow, and for those that come from a UE.
        """
        self._ids = ids
        self._timers = timers
        self._impatient = timers.with_another_target()
        self._ue_timers = towards_ue or timers
        self._is_from_ue = is_from_ue
        self._local_for = local_for
        self._max_udp_request_bytes = max_udp_request_bytes
        self._refuses = refuses
        self._table: TransactionTable[Leg, Exchange] = TransactionTable()
        self._over_streams: dict[Target, dict[Leg, None]] = {}  # of those, the legs over transports with connections
        self._now = 0.0  # of the input being worked on
        self._tag_key = b""

    @property
    def server_transactions(self) -> int:
        """How many server transactions are alive."""
        return len(self._table.servers) + len(self._table.answered)

    @property
    def client_transactions(self) -> int:
        """How many client transactions are alive."""
        return len(self._table.clients)

    # ------------------------------------------------------------------ from the wire

    def receive(self, message: Message, now: float) -> None:
        """Take a parsed message; its `flow` says where it came from."""
        self._now = now
        if isinstance(message, Response):
            leg = self._table.find_client(message)
            if leg is not None and _has_our_via(message, leg):  # a stray one is not forwarded (RFC 6026 7.3)
                if message.status > 100:
                    leg.progress_at = now  # 16.7 step 2
                leg.transaction.on_response(message, leg)
        else:
            assert isinstance(message, Request)  # noqa: S101  there is no third kind
            self._receive_request(message)

    def _receive_request(self, request: Request) -> None:
        exchange = self._table.find_server(request)
        if exchange is not None:
            exchange.transaction.on_request(request, exchange)
            return
        target = note_source(request)
        method = request.method
        if method == "ACK":
            if proxy.validate(request) is None:
                self.sink.to_core(request)
            return
        retry_after_s = self._refuses(request) if self._refuses is not None else None
        if retry_after_s is None and len(self._table.servers) >= MAX_SERVER_TRANSACTIONS:
            retry_after_s = RETRY_AFTER_S
        if retry_after_s is not None:
            self.refuse(request, 503, headers=(("Retry-After", str(retry_after_s)),))
            return
        refusal = proxy.validate(request)
        if method == "CANCEL":
            self._receive_cancel(self._open(request, target))
        elif refusal is not None:
            self._answer(self._open(request, target), refusal.status, refusal.reason, refusal.headers)
        else:
            self._offer(self._open(request, target), request)

    def _offer(self, exchange: Exchange, request: Request) -> None:
        """Let the core decide on a new request; its sender hears soon enough that somebody works on it."""
        if request.method == "INVITE":
            exchange.transaction.respond(Response.to_request(request, 100, to_tag=""), exchange)
            self.sink.to_core(request)
            return
        self.sink.to_core(request)
        if not exchange.is_answered and not exchange.is_over:
            self.sink.start_timer(exchange, _TIMER_TRYING, exchange.transaction.timers.trying)

    def _open(self, request: Request, target: Target) -> Exchange:
        machine = InviteServerTransaction if request.method == "INVITE" else NonInviteServerTransaction
        is_reliable = target.transport is not _UDP
        transaction = machine(request, reliable=is_reliable, timers=self._timers_towards(request))
        exchange = Exchange(self, request, transaction, target)
        self._table.add_server(transaction, exchange)
        return exchange

    def _timers_towards(self, request: Request) -> TimerValues:
        """Choose the timers of the side that a request came from (TS 24.229 7.7)."""
        return self._ue_timers if self._is_from_ue is not None and self._is_from_ue(request) else self._timers

    def _receive_cancel(self, cancel: Exchange) -> None:
        assert cancel.request is not None  # noqa: S101  it has just come
        invite = self._table.find_cancelled(cancel.request)
        if invite is None:
            self._answer(cancel, 481)
            return
        cancel.to_tag = invite.to_tag = invite.to_tag or self._ids.tag()
        self._answer(cancel, 200)  # 9.2, 16.10
        invite.is_cancelled = True
        if invite.context is not None:
            self._carry_out(invite, invite.context.on_cancel())

    # ------------------------------------------------------------------ from the core

    def respond(self, action: Respond) -> None:
        """Answer a request from here (8.2.6); one that is no longer waiting is left alone.

        A 503 goes out as it is: it is this node's own. One that a next hop sent does not (16.7 step 6).
        """
        exchange = self._table.find_server(action.request)
        if exchange is not None and not exchange.is_answered:
            self._answer(exchange, action.status, action.reason, action.headers, action.body, action.content_type)

    def relay(self, response: Response) -> None:
        """Send a response, own Via removed, to where its request came from (16.7 step 9)."""
        exchange = self._table.find_server(response)
        if exchange is not None:
            self._reply(exchange, response)

    def is_unanswered(self, request: Request) -> bool:
        """Whether the request still waits for somebody to answer or forward it."""
        exchange = self._table.find_server(request)
        return exchange is not None and exchange.context is None and not exchange.is_answered

    def forward(self, forward: Forward, targets: list[Targets], now: float, resume: object = None) -> bool:
        """Proxy a request to the targets found for its branches (16.6); `resume` waits for the final response.

        A branch goes to its first target, and to the next one when that cannot be reached, does not answer, or answers
        503 (RFC 3263 4.3). Tell whether the request still waits for that.
        """
        self._now = now
        branches = forward.branches
        first = branches[0].request
        if first.method == "ACK":
            self._forward_ack(forward, targets)
            return True
        exchange = self._table.find_server(first)
        if exchange is None or exchange.request is None or exchange.is_answered:
            return False
        if exchange.is_cancelled:  # the CANCEL came while the core was still deciding
            self._refuse_to_forward(exchange, 487, resume)
            return True
        exchange.mark = ""
        if len(branches) > 1 or first.has("Max-Breadth"):
            refusal = self._fork(exchange, exchange.request, forward)
            if refusal is not None:
                self._refuse_to_forward(exchange, refusal.status, resume)
                return True
        exchange.handler = forward.on_response
        exchange.record_route = forward.record_route
        exchange.resume = resume
        exchange.failure = None
        exchange.context = context = proxy.ResponseContext(len(branches), is_invite=first.method == "INVITE")
        if len(branches) > 1 and "no-cancel" in directives(first):
            context.cancels_losers = False  # RFC 3841 9.1
        exchange.legs = [None] * len(branches)
        for index, branch in enumerate(branches):
            found = targets[index]
            if isinstance(found, PeerUnavailable):
                exchange.failure = found
                self._failed(exchange, index, 503)
            else:
                self._try(exchange, index, branch.request, self._over_tcp_if_large(branch.request, found))
        return True

    def _fork(self, exchange: Exchange, received: Request, forward: Forward) -> proxy.Refusal | None:
        """Mark and limit a request that goes several ways (RFC 5393)."""
        mark = proxy.loop_mark(received)
        refusal = proxy.check_fork(received, mark, len(forward.branches))
        if refusal is None:
            exchange.mark = f"-{mark}"
            share_breadth(forward, received)
        return refusal

    def _refuse_to_forward(self, exchange: Exchange, status: int, resume: object) -> None:
        refusal = self._make(exchange, status)
        if resume is None:
            self._reply(exchange, refusal)
        else:
            exchange.resume = resume
            self.sink.decide(exchange, refusal, is_final=True)

    def _forward_ack(self, forward: Forward, targets: list[Targets]) -> None:
        for branch, found in zip(forward.branches, targets, strict=True):
            if not isinstance(found, PeerUnavailable):
                self._finish(branch.request, found[0])
                self.sink.send(bytes(branch.request), found[0], branch.request)

    def _over_tcp_if_large(self, request: Request, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Send what might not fit into a packet over TCP, and over UDP only if that cannot be had (18.1.1)."""
        limit_of = self._max_udp_request_bytes
        first = targets[0]
        if limit_of is None or not isinstance(first, Hop) or first.transport is not _UDP:
            return targets
        if request.size + _OWN_BYTES <= limit_of(first):
            return targets
        return tuple(other for target in targets for other in _with_tcp(target))

    def _try(self, exchange: Exchange, branch: int, request: Request, targets: tuple[Target, ...]) -> None:
        """Send a branch to the first of its targets."""
        target = targets[0]
        spare = Spare(request.copy(), targets[1:]) if len(targets) > 1 else None
        received = exchange.request
        if exchange.record_route is not None and received is not None and received.flow is not None:
            self._record_route(exchange.record_route, request, received.flow, target)
        via_branch = self._finish(request, target, exchange.mark)
        self._start_client(exchange, branch, request, via_branch, target, spare)

    def _try_next(self, leg: Leg, exchange: Exchange, reason: str) -> bool:
        """Send a branch whose target has failed to its next one; False if there is none, or no need any more."""
        context, spare, leg.spare = exchange.context, leg.spare, None
        if spare is None or context is None or exchange.is_cancelled or not context.is_pending(leg.branch):
            return False
        if leg.cancelled_at is not None or context.is_answered:
            return False
        context.on_next_target(leg.branch)
        self.sink.next_target(spare.request, leg.target, reason, spare.targets[0])
        self._try(exchange, leg.branch, spare.request, spare.targets)
        return True

    def _finish(self, request: Request, target: Target, mark: str = "") -> str:
        """Finish a copy for the wire (16.6 steps 3 and 8), and return the branch of its Via."""
        proxy.count_down_max_forwards(request)
        branch = self._ids.branch() + mark
        request.prepend("Via", proxy.via_start(target.transport, self._local_for(target)) + branch)
        return branch

    def _record_route(self, names: RecordRoute, request: Request, inbound: Flow, target: Target) -> None:
        """Stay on the path of the dialog (16.6 step 4)."""
        is_sips = target.transport.is_secured and proxy.is_for_sips(request)
        near = proxy.record_route_uri(names.inbound, self._local_for(inbound), inbound.transport, is_sips=is_sips)
        far = proxy.record_route_uri(names.outbound, self._local_for(target), target.transport, is_sips=is_sips)
        if near != far:
            request.prepend("Record-Route", near)
        request.prepend("Record-Route", far)

    def _start_client(
        self, exchange: Exchange, branch: int, request: Request, key: str, target: Target, spare: Spare | None
    ) -> None:
        timers = self._ue_timers if isinstance(target, Flow) else self._timers
        if spare is not None:
            timers = self._impatient
        is_invite = request.method == "INVITE"
        machine = InviteClientTransaction if is_invite else NonInviteClientTransaction
        transaction = machine(request, key=key, reliable=target.transport is not _UDP, timers=timers)
        leg = Leg(self, exchange, branch, transaction, target, self._now)
        leg.spare = spare
        self._add_leg(leg)
        assert exchange.legs is not None  # noqa: S101  it is being forwarded
        exchange.legs[branch] = leg
        if is_invite:
            leg.request = request
            self.sink.start_timer(leg, _TIMER_C, self._timers.timer_c)
        transaction.start(leg)

    def _add_leg(self, leg: Leg) -> None:
        self._table.add_client(leg.transaction, leg)
        if leg.target.transport is not _UDP:
            self._over_streams.setdefault(leg.target, {})[leg] = None

    # ------------------------------------------------------------------ from the clock and the transports

    def on_timer(self, owner: Exchange | Leg, timer: Timer, now: float) -> None:
        """Take a timer that the sink was told to start; one that outlived its state does nothing."""
        if owner.is_over:
            return
        self._now = now
        if isinstance(owner, Exchange):
            if timer is _TIMER_TRYING:
                self._on_trying(owner)
            else:
                owner.transaction.on_timer(timer, owner)
        elif timer is _TIMER_C:
            self._on_timer_c(owner)
        else:
            owner.transaction.on_timer(timer, owner)

    def on_transport_failure(self, target: Target, reason: str) -> None:
        """End what was just being sent to a target that cannot be reached (8.1.3.1, 17.1.4)."""
        if target.transport is _UDP:
            failed = [leg for leg in self._table.clients if leg.target == target]
        else:
            failed = list(self._over_streams.get(target, ()))
        for leg in failed:
            self.fail(leg, reason)

    def find_undelivered(self, quote: bytes, remote: tuple[str, int]) -> Leg | None:
        """Find the transaction whose request is said not to have arrived (18.4), with a quote of how it begins.

        The branch shows that whoever says so has seen the request. He can be a later hop, so nothing else is believed
        about the target, and nothing at all once it has answered.
        """
        leg = self._table.find_quoted(quote)
        if leg is None or leg.transaction.state not in _UNHEARD or not is_towards(leg.target, remote):
            return None
        return leg

    def fail(self, leg: Leg, reason: str) -> None:
        """End a transaction whose target cannot be reached (8.1.3.1, 17.1.4)."""
        if leg.exchange is not None:
            leg.exchange.failure = PeerUnavailable(str(leg.target), reason)
        leg.transaction.on_transport_error(leg)

    def _on_trying(self, exchange: Exchange) -> None:
        """Answer 100 to a request other than INVITE that has waited for long; never earlier (RFC 4320 4.1)."""
        if exchange.transaction.state is _TRYING:
            self._answer(exchange, 100)

    def _on_timer_c(self, leg: Leg) -> None:
        exchange = leg.exchange
        context = exchange.context if exchange is not None else None
        # Without a context the request was answered over another branch, and this one is all that is left of it.
        is_pending = leg.transaction.state is _PROCEEDING if context is None else context.is_pending(leg.branch)
        if exchange is None or not is_pending:
            return
        if leg.cancelled_at is not None:
            ends_at = leg.cancelled_at + 64 * leg.transaction.timers.t1  # 9.1: then the INVITE counts as cancelled
        else:
            ends_at = leg.progress_at + self._timers.timer_c
        if ends_at > self._now:
            self.sink.start_timer(leg, _TIMER_C, ends_at - self._now)
        elif leg.cancelled_at is None:
            if context is None:
                self._cancel(leg)
            else:
                self._carry_out(exchange, context.on_timer_c(leg.branch))
        else:
            branch = leg.branch
            leg.terminated()
            self._failed(exchange, branch, 408)

    # ------------------------------------------------------------------ from the transactions

    def on_answered(self, exchange: Exchange) -> None:
        """Hear that a server transaction has its final response."""
        self._table.set_answered(exchange.transaction, MAX_ANSWERED)

    def on_server_end(self, exchange: Exchange) -> None:
        """Forget a server transaction."""
        self._table.remove_server(exchange.transaction)

    def on_client_end(self, leg: Leg) -> None:
        """Forget a client transaction."""
        self._table.remove_client(leg.transaction)
        if leg.target.transport is not _UDP:
            legs = self._over_streams.get(leg.target)
            if legs is not None:
                legs.pop(leg, None)
                if not legs:
                    del self._over_streams[leg.target]

    def on_too_large(self, leg: Leg) -> None:
        """End the one transaction whose request fits into no datagram (18.1.1, 21.5.7); its target can be reached."""
        exchange, branch = leg.exchange, leg.branch
        leg.terminated()
        if exchange is not None:
            self._failed(exchange, branch, 513)

    def on_response(self, leg: Leg, exchange: Exchange, response: Response) -> None:
        """Take a response to a forwarded request (16.7)."""
        context = exchange.context
        if context is None or (response.status == 503 and self._try_next(leg, exchange, "answers 503")):
            return
        response.remove_first_value("Via")  # step 3
        if response.has("Via"):
            response.assign_to(exchange.key)  # step 9
            self._carry_out(exchange, context.on_response(leg.branch, response))

    def give_up(self, leg: Leg, status: int) -> None:
        """Take note that a branch got no response (16.7 step 2, 16.8, 16.9): there may be another target for it."""
        exchange = leg.exchange
        if exchange is None or self._try_next(leg, exchange, _WHY_GIVEN_UP[status]):
            return
        self._failed(exchange, leg.branch, status)

    def _failed(self, exchange: Exchange, branch: int, status: int) -> None:
        """Treat a branch that failed by itself as if it had answered."""
        context = exchange.context
        if context is not None and exchange.request is not None and context.is_pending(branch):
            status = 487 if exchange.is_cancelled else status
            self._carry_out(exchange, context.on_response(branch, self._make(exchange, status)))

    def _carry_out(self, exchange: Exchange, verdicts: list[proxy.Verdict]) -> None:
        for verdict in verdicts:
            if isinstance(verdict, Response):
                self._back(exchange, verdict)
            elif exchange.legs is not None:
                leg = exchange.legs[verdict]
                if leg is not None:
                    self._cancel(leg)

    def _back(self, exchange: Exchange, response: Response) -> None:
        """Let a response go back: through the core if it asked for that, else at once."""
        is_final = response.status >= 200
        if exchange.handler is not None or (is_final and exchange.resume is not None):
            self.sink.decide(exchange, response, is_final=is_final)
        elif response.status == 503:
            wait = response.get("Retry-After")
            headers = () if wait is None else (("Retry-After", wait),)
            self._answer(exchange, 500, "Next hop unavailable", headers)  # 16.7 step 6
        else:
            self._reply(exchange, response)

    def _cancel(self, leg: Leg) -> None:
        """Send CANCEL after the INVITE of a branch, and wait no longer than 64*T1 for its end (9.1)."""
        if leg.request is None:
            return  # its final response is there
        leg.cancelled_at = self._now
        request = cancel_request(leg.request)
        timers = self._ue_timers if isinstance(leg.target, Flow) else self._timers
        transaction = NonInviteClientTransaction(
            request, key=leg.transaction.key, reliable=leg.target.transport is not _UDP, timers=timers
        )
        cancel = Leg(self, None, 0, transaction, leg.target, self._now)
        self._add_leg(cancel)
        transaction.start(cancel)
        self.sink.start_timer(leg, _TIMER_C, 64 * timers.t1)

    # ------------------------------------------------------------------ own responses

    def _answer(
        self,
        exchange: Exchange,
        status: int,
        reason: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> None:
        self._reply(exchange, self._make(exchange, status, reason, headers, body, content_type))

    def _reply(self, exchange: Exchange, response: Response) -> None:
        status = response.status
        if status >= 200:
            if status == 408 and exchange.transaction.method != "INVITE":
                # RFC 4320 4.2: by now the sender has given up too, and would take a late 408 for somebody else's
                exchange.terminated()
                return
            exchange.is_answered = True
        exchange.transaction.respond(response, exchange)

    def _make(
        self,
        exchange: Exchange,
        status: int,
        reason: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> Response:
        assert exchange.request is not None  # noqa: S101  it is not answered
        if status > 100 and not exchange.to_tag:
            exchange.to_tag = self._ids.tag()
        return Response.to_request(
            exchange.request, status, reason,
            to_tag=exchange.to_tag, headers=headers, body=body, content_type=content_type,
        )  # fmt: skip

    def refuse(
        self, request: Request, status: int, reason: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Answer a request without keeping anything of it, such as one that could not be parsed whole.

        A retransmission gets the same answer with the same To tag (8.2.7).
        """
        assert request.flow is not None  # noqa: S101  the transport sets it on every message
        response = Response.to_request(request, status, reason, to_tag=self._stateless_tag(request), headers=headers)
        self.sink.send(bytes(response), response_target(request, request.flow), response)

    def _stateless_tag(self, request: Request) -> str:
        """Derive a tag from what is the same in retransmissions; nobody else can tell it beforehand."""
        if not self._tag_key:
            self._tag_key = self._ids.octets(16)
        parts = (
            request.get("Via"),
            request.get("From"),
            request.get("To"),
            request.get("Call-ID"),
            request.get("CSeq"),
        )
        text = "\n".join([part or "" for part in parts]).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=6, key=self._tag_key).hexdigest()


def share_breadth(forward: Forward, received: Request) -> None:
    """Share what is left of a request's breadth among its branches (RFC 5393 5.3.3.2)."""
    breadth, number = proxy.breadth_of(received), len(forward.branches)
    for index, branch in enumerate(forward.branches):
        branch.request.set("Max-Breadth", str(breadth // number + (index < breadth % number)))


def _has_our_via(response: Response, leg: Leg) -> bool:
    """Whether the topmost Via is the one that we have sent, of which the branch is (18.1.2)."""
    if leg.request is None:
        return True
    if response.get("Via") == leg.request.get("Via"):  # to the letter, as most send it back
        return True
    via, own = response.via, leg.request.via
    return via.port == own.port and via.host == own.host


def _with_tcp(target: Target) -> tuple[Target, ...]:
    """Offer TCP before UDP at the same address."""
    if isinstance(target, Hop) and target.transport is _UDP:
        return (target._replace(transport=Transport.TCP), target)
    return (target,)
