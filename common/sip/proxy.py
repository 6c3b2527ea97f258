"""Forwarding a request and choosing its response, step by step (RFC 3261 clause 16).

Not covered: maddr in Via (18.2.2), with which others would aim our responses at somebody; redirection by the proxy
itself (16.5 recursion on 3xx).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NewType, TypeAlias

from opencscf.common.errors import ParseError
from opencscf.common.sip.flow import Transport
from opencscf.common.sip.head import DEFAULT_PORT
from opencscf.common.sip.headers import NameAddr
from opencscf.common.sip.uri import SipUri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opencscf.common.sip.message import Request, Response

DEFAULT_TLS_PORT = 5061
MAX_FORWARDS = 70  # RFC 3261 16.6 step 3
MAX_BREADTH = 60  # RFC 5393 5.3.3.1: of a request that does not say

# RFC 3329: phones require it of the P-CSCF in all they send, which takes it out; further proxies never see it. What the
# others ask for (RFC 3841 5, RFC 4028 7.1), each node knows as far as it has a part in it.
_PROXY_OPTIONS = frozenset({"sec-agree", "pref", "timer"})

_PARAMETERS = {
    Transport.UDP: "",
    Transport.TCP: ";transport=tcp",
    Transport.TLS: ";transport=tls",
    Transport.WS: ";transport=ws",
    Transport.WSS: ";transport=ws",  # RFC 7118 has no other
}
_SIPS_PARAMETERS = {Transport.WS: ";transport=ws", Transport.WSS: ";transport=ws"}  # else TLS without saying (RFC 5630)

# 16.7 step 6: within a class, the responses that help the caller to try again come first.
_HELPFUL = (401, 407, 415, 420, 484)


@dataclass(frozen=True, slots=True)
class OwnUris:
    """The host and port pairs under which this node is addressed in Route and Request-URI."""

    addresses: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, addresses: Iterable[tuple[str, int]]) -> OwnUris:
        """Take (host, port) pairs; a host is an IP literal without brackets or a name in any case."""
        return cls(frozenset((host.lower(), port) for host, port in addresses))

    def is_ours(self, uri: SipUri) -> bool:
        """Whether the URI leads to this node; one without a port means 5060, or 5061 with TLS.

        It leads where its maddr says, if it has one (19.1.1).
        """
        host = (uri.maddr or uri.host) if uri.params and uri.params.has("maddr") else uri.host
        return (host.lower(), uri.port or _default_port(uri)) in self.addresses


def _default_port(uri: SipUri) -> int:
    return DEFAULT_TLS_PORT if uri.scheme == "sips" or uri.transport == "tls" else DEFAULT_PORT


def strip_own_routes(request: Request, own: OwnUris) -> list[SipUri]:
    """Remove all topmost Route values that are this node's (16.4) and return them, topmost first.

    A maddr in the Request-URI that has led to this node goes as well.
    """
    if "maddr" in request.uri.lower():
        _strip_own_maddr(request, own)
    if not request.has("Route"):
        return []
    if ";lr" in request.uri:  # each of our Record-Routes has it
        _undo_strict_routing(request, own)
    lines = request.get_all("Route")
    if len(lines) != 1:
        return _strip_lines(request, own)
    stripped: list[SipUri] = []
    left = lines[0]
    while left:
        uri_text, rest = _first_uri(left)
        if not uri_text:
            return _strip_lines(request, own)
        uri = SipUri.parse(uri_text)
        if not own.is_ours(uri):
            break
        stripped.append(uri)
        left = rest
    if stripped and left:
        request.set("Route", left)
    elif stripped:
        request.remove("Route")
    return stripped


def _first_uri(routes: str) -> tuple[str, str]:
    """Split the first URI of a line of Route from what follows its comma; ("", "") if it has more than the URI.

    A request within a dialog has many values, of which a node needs the first ones only.
    """
    if routes[:1] == "<":
        uri, bracket, rest = routes[1:].partition(">")
        if bracket and (not rest or rest[0] == ","):
            return uri, rest[1:].lstrip()
    return "", ""


def _strip_lines(request: Request, own: OwnUris) -> list[SipUri]:
    """Do the same for values in several lines, or with names and parameters."""
    stripped: list[SipUri] = []
    routes = request.routes
    for route in routes:
        uri = route.sip_uri
        if not own.is_ours(uri):
            break
        stripped.append(uri)
    if stripped and len(stripped) == len(routes):
        request.remove("Route")
    else:
        for _ in stripped:
            request.remove_first_value("Route")
    return stripped


def _undo_strict_routing(request: Request, own: OwnUris) -> None:
    """Put back what a strict router took to reach us: our Record-Route URI is in the Request-URI (16.4)."""
    uri, routes = request.request_uri, request.routes
    if routes and isinstance(uri, SipUri) and uri.lr and own.is_ours(uri):
        request.set("Route", ", ".join(map(str, (NameAddr(request.uri), *routes[:-1]))))
        request.uri = routes[-1].uri


def _strip_own_maddr(request: Request, own: OwnUris) -> None:
    """Go on as if there were no maddr in the Request-URI, nor the port and transport that went with it (16.4)."""
    uri = request.request_uri
    if isinstance(uri, SipUri) and uri.params.has("maddr") and own.is_ours(uri):
        request.uri = str(uri._replace(port=None).without_params("maddr", "ttl", "transport"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not even looked at by the core."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


def validate(request: Request) -> Refusal | None:
    """Check what every proxy checks before it decides anything (16.3); ParseError for what is malformed."""
    _ = request.from_tag, request.to_tag  # step 1: both can be read
    if request.uri[:4].lower() != "urn:":  # step 2; services are the core's business (RFC 5031)
        uri = request.request_uri
        if isinstance(uri, SipUri) and uri.headers:
            raise ParseError("header fields in the Request-URI")  # 19.1.1
    if request.max_forwards == 0:
        return Refusal(483, "")
    if request.has("Proxy-Require"):
        unsupported = [option for option in request.values("Proxy-Require") if option.lower() not in _PROXY_OPTIONS]
        if unsupported:
            return Refusal(420, "", (("Unsupported", ", ".join(unsupported)),))
    return None


def next_hop_uri(request: Request) -> SipUri:
    """Say where a request goes: its topmost Route, else its Request-URI (16.6 steps 6 and 7).

    A strict router in the topmost Route gets the request the way it expects: its own URI in the Request-URI, the
    former Request-URI as last Route.
    """
    uri = _topmost_route(request)
    if uri is not None:
        if not uri.lr:
            request.append("Route", f"<{request.uri}>")
            request.remove_first_value("Route")
            request.uri = str(uri)
        return uri
    target = request.request_uri
    if not isinstance(target, SipUri):
        raise ParseError("a tel URI has no next hop without a Route", status=416)
    return target


def _topmost_route(request: Request) -> SipUri | None:
    line = request.get("Route")
    if line is None:
        return None
    uri, _ = _first_uri(line)
    if uri:
        return SipUri.parse(uri)
    routes = request.routes
    return routes[0].sip_uri if routes else None


def count_down_max_forwards(request: Request) -> None:
    """Decrement Max-Forwards, or add it (16.6 step 3)."""
    left = request.max_forwards
    request.set("Max-Forwards", str(MAX_FORWARDS if left is None else left - 1))


def sent_by(host: str, port: int) -> str:
    """Write an address as Via and URIs have it: IPv6 in brackets (RFC 3261 18.1.1)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(64)
def via_start(transport: Transport, local: tuple[str, int]) -> str:
    """Write the Via of a listener of ours up to its branch."""
    return f"SIP/2.0/{transport} {sent_by(*local)};branch="


def is_for_sips(request: Request) -> bool:
    """Tell whether the Request-URI or the topmost Route is a SIPS URI (16.6 step 4)."""
    routes = request.routes
    return any(uri[:5].lower() == "sips:" for uri in (request.uri, *[route.uri for route in routes[:1]]))


def record_route_uri(user: str, local: tuple[str, int], transport: Transport, *, is_sips: bool) -> str:
    """Write a Record-Route value that leads back to a listener of ours (16.6 step 4, RFC 7118, RFC 5630)."""
    if is_sips:
        return f"<sips:{user}@{sent_by(*local)}{_SIPS_PARAMETERS.get(transport, '')};lr>"
    return f"<sip:{user}@{sent_by(*local)}{_PARAMETERS[transport]};lr>"


def loop_mark(request: Request) -> str:
    """Condense what decides where a request is forked to (RFC 5393 4.2.1).

    It ends the branches of our Via; the same mark in a request that comes back tells that it goes in circles.
    """
    cseq = request.cseq.number
    parts = (request.uri, request.call_id, request.from_tag, request.to_tag, cseq, *request.values("Route"))
    text = "\n".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def check_fork(request: Request, mark: str, branches: int) -> Refusal | None:
    """Refuse to fork what has been forked here before, or wider than it may be (RFC 5393 4.2.2, 5.3.3.2)."""
    if any(via.endswith(f"-{mark}") or f"-{mark};" in via for via in request.values("Via")):
        return Refusal(482, "")
    return Refusal(440, "") if branches > breadth_of(request) else None


def breadth_of(request: Request) -> int:
    """Say how many branches a request may still be spread over in parallel."""
    text = request.get("Max-Breadth")
    if text is None:
        return MAX_BREADTH
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise ParseError("Max-Breadth is not a number")
    return int(text)


# What becomes of a response: one to send towards the caller, or the number of a branch whose INVITE to cancel.
CancelBranch = NewType("CancelBranch", int)
Verdict: TypeAlias = "Response | CancelBranch"

# What is known of one forwarded copy, as bits.
_PROCEEDING = 1  # a provisional response came, so a CANCEL may be sent (9.1)
_FINAL = 2
_CANCEL_WANTED = 4
_CANCELLED = 8


class ResponseContext:
    """Response processing of one forwarded request with all its branches (16.7)."""

    __slots__ = ("_best", "_branches", "_challenges", "_is_invite", "cancels_losers", "is_answered")

    def __init__(self, branches: int, *, is_invite: bool) -> None:
        self._branches = [0] * branches
        self._is_invite = is_invite
        self._best: Response | None = None
        self._challenges: list[tuple[str, str]] | None = None
        self.is_answered = False  # a final response has gone upstream
        self.cancels_losers = True  # when one has succeeded

    def is_pending(self, branch: int) -> bool:
        """Whether the branch still lacks its final response."""
        return not self._branches[branch] & _FINAL

    def on_next_target(self, branch: int) -> None:
        """Begin a branch anew: its request goes to another target (RFC 3263 4.3)."""
        self._branches[branch] = 0

    def on_response(self, branch: int, response: Response) -> list[Verdict]:
        """Take a response, own Via removed, from a branch."""
        status = response.status
        if status < 200:
            return self._on_provisional(branch, response)
        was_final = self._branches[branch] & _FINAL
        self._branches[branch] |= _FINAL
        if status < 300:
            return self._on_success(response)
        if was_final or self.is_answered:
            return []
        if len(self._branches) == 1:
            self.is_answered = True
            return [response]
        self._remember(response)
        verdicts = self._cancel_pending() if status >= 600 else []  # step 5: a 6xx ends the search
        return verdicts + self._answer_if_complete()

    def on_cancel(self) -> list[Verdict]:
        """Take the caller's CANCEL (16.10)."""
        return [] if self.is_answered else self._cancel_pending()

    def on_timer_c(self, branch: int) -> list[Verdict]:
        """Give up on a callee that rings for ever (16.8)."""
        return self._cancel(branch)

    def _on_provisional(self, branch: int, response: Response) -> list[Verdict]:
        state = self._branches[branch]
        if state & _FINAL:
            return []
        self._branches[branch] = state | _PROCEEDING
        verdicts = self._cancel(branch) if state & _CANCEL_WANTED and not state & _PROCEEDING else []
        # Step 5: 100 is hop by hop. To other methods than INVITE nothing else may be sent (RFC 4320 4.1).
        if self._is_invite and response.status != 100 and not self.is_answered:
            verdicts.append(response)
        return verdicts

    def _on_success(self, response: Response) -> list[Verdict]:
        if self.is_answered and not self._is_invite:
            return []
        self.is_answered = True  # step 5: every 2xx to an INVITE is forwarded, also a second one
        if len(self._branches) == 1 or not self.cancels_losers:
            return [response]
        return [response, *self._cancel_pending()]

    def _answer_if_complete(self) -> list[Verdict]:
        if self._best is None or not all(state & _FINAL for state in self._branches):
            return []
        self.is_answered = True
        best, self._best = self._best, None
        if best.status in (401, 407):  # step 7
            for name in ("WWW-Authenticate", "Proxy-Authenticate"):
                best.remove(name)
            for name, value in self._challenges or ():
                best.append(name, value)
        return [best]

    def _remember(self, response: Response) -> None:
        if response.status in (401, 407):
            challenges = [
                (name, value) for name in ("WWW-Authenticate", "Proxy-Authenticate") for value in response.get_all(name)
            ]
            self._challenges = (self._challenges or []) + challenges
        if self._best is None or rank(response) < rank(self._best):
            self._best = response

    def _cancel_pending(self) -> list[Verdict]:
        return [verdict for branch in range(len(self._branches)) for verdict in self._cancel(branch)]

    def _cancel(self, branch: int) -> list[Verdict]:
        state = self._branches[branch]
        if not self._is_invite or state & (_FINAL | _CANCELLED):
            return []
        if not state & _PROCEEDING:
            self._branches[branch] |= _CANCEL_WANTED  # 9.1: not before a provisional response
            return []
        self._branches[branch] |= _CANCELLED
        return [CancelBranch(branch)]


def rank(response: Response) -> tuple[int, int]:
    """Order final responses for the caller, best first (16.7 step 6)."""
    status = response.status
    if status >= 600:
        return (0, 0)
    return (status // 100, _HELPFUL.index(status) if status in _HELPFUL else len(_HELPFUL) + (status == 503))
