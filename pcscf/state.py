"""What the P-CSCF remembers: who is registered through it and over which flow, and the calls it is part of.

Bindings survive a restart (TS 24.229 5.2.2.1); calls do not: their dialogs go on, because Record-Route tells all that
forwarding needs, but the PCRF's sessions of before end with the bearer.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from opencscf.common.errors import ParseError
from opencscf.common.ims.public_identity import impu_of
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.proxy import DEFAULT_PORT
from opencscf.common.sip.uri import CACHED_URIS, MAX_CACHED_CHARS, SipUri, comparable_host, parse_uri, with_brackets

if TYPE_CHECKING:
    from opencscf.common.ids import Ids
    from opencscf.common.ims.identity import Impu
    from opencscf.common.sip.message import Request
    from opencscf.common.sip.proxy import OwnUris
    from opencscf.diameter.rx import MediaComponent
    from opencscf.pcscf.config import PcscfConfig

Fields: TypeAlias = "dict[str, str | int | float | None]"  # of a Report

BINDING = "binding"  # the kind of record under which bindings are saved


@dataclass(frozen=True, slots=True)
class Binding:
    """One contact address of a registered user and how to reach it."""

    token: str  # the user part of our Path URI; nobody can guess it
    impi: str | None  # None if the UE registered without credentials
    aor: str  # the public user identity of the REGISTER's To, in canonical form
    contact: str  # URI
    flow: Flow
    service_route: tuple[str, ...]  # URIs (RFC 3608)
    identities: tuple[str, ...]  # URIs of P-Associated-URI, never empty; the first is the default public user identity
    expires_at: float

    @property
    def dialog_token(self) -> str:
        """The token's stand-in for Record-Route, which other UEs see: it does not tell the Path."""
        return dialog_token(self.token)

    @property
    def default_identity(self) -> str:
        """The identity that is asserted unless the UE prefers another one (TS 24.229 5.2.6.3.1)."""
        return self.identities[0]

    @property
    def towards_ue(self) -> Flow:
        """How requests reach the UE: where its Contact says that it listens, or behind a NAT where it registered from.

        Phones may register from another port than they listen on. An open connection is used whatever its remote
        address, which counts when it must be opened anew.
        """
        with suppress(ParseError):
            contact = parse_uri(self.contact)
            if isinstance(contact, SipUri) and comparable_host(contact.host) == self.flow.remote[0]:
                remote = (self.flow.remote[0], contact.port or DEFAULT_PORT)
                return self.flow if remote == self.flow.remote else self.flow._replace(remote=remote)
        return self.flow

    def identity_matching(self, uri: str) -> str | None:
        """The registered identity that a URI means, None if it is not this user's."""
        key = _key_or_none(uri)
        return next((own for own in self.identities if _key_or_none(own) == key), None) if key else None

    def has_contact(self, uri: str) -> bool:
        """Whether a contact URI is this binding's (RFC 3261 19.1.4)."""
        return same_uri(self.contact, uri)

    def to_record(self) -> dict[str, Any]:
        """Write it for the store."""
        return {
            "impi": self.impi,
            "aor": self.aor,
            "contact": self.contact,
            "transport": str(self.flow.transport),
            "local": list(self.flow.local),
            "remote": list(self.flow.remote),
            "service_route": list(self.service_route),
            "identities": list(self.identities),
            "expires_at": self.expires_at,
        }

    @classmethod
    def from_record(cls, token: str, record: dict[str, Any]) -> Binding:
        """Read what `to_record` wrote. A connection of the process before is gone, so that it has no number."""
        (local_host, local_port), (remote_host, remote_port) = record["local"], record["remote"]
        return cls(
            token=token,
            impi=record["impi"],
            aor=record["aor"],
            contact=record["contact"],
            flow=Flow(Transport(record["transport"]), (local_host, local_port), (remote_host, remote_port)),
            service_route=tuple(record["service_route"]),
            identities=tuple(record["identities"]),
            expires_at=record["expires_at"],
        )


class FlowAddress(NamedTuple):
    """What tells one sender from another: the transport and the address a message came from."""

    transport: Transport
    remote: tuple[str, int]


class Registrations:
    """All bindings, found by what a message shows of its sender."""

    def __init__(self) -> None:
        self._by_token: dict[str, Binding] = {}
        # Inner dicts are sets that remember who came last.
        self._by_flow: dict[FlowAddress, dict[str, None]] = {}
        self._by_host: dict[str, dict[str, None]] = {}
        self._by_identity: dict[str, dict[str, None]] = {}
        self._by_contact: dict[str, dict[str, None]] = {}
        self._by_aor: dict[str, dict[str, None]] = {}
        self._by_dialog: dict[str, dict[str, None]] = {}
        self._former: dict[str, Binding] = {}  # by dialog token: ended, but their calls may still be hung up

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._by_token.values())

    def get(self, token: str) -> Binding | None:
        """The binding that a Path token names."""
        return self._by_token.get(token)

    def in_dialog(self, dialog_token: str) -> Binding | None:
        """The binding that the token in Record-Route names."""
        return next((self._by_token[token] for token in self._by_dialog.get(dialog_token, ())), None)

    def former(self, dialog_token: str) -> Binding | None:
        """The ended binding that the token in Record-Route names, if its calls may still be hung up."""
        return self._former.get(dialog_token)

    def keep_former(self, binding: Binding) -> None:
        """Let the calls of an ended binding be hung up."""
        self._former[binding.dialog_token] = binding

    def drop_former(self, dialog_token: str) -> None:
        """Forget an ended binding for good."""
        self._former.pop(dialog_token, None)

    def of_aor(self, aor: str) -> list[Binding]:
        """All contacts registered here for a public user identity."""
        return [self._by_token[token] for token in self._by_aor.get(aor, ())]

    def find(self, aor: str, contact: str) -> Binding | None:
        """The binding of one contact."""
        return next((binding for binding in self.of_aor(aor) if binding.has_contact(contact)), None)

    def displaced_by(self, binding: Binding) -> list[Binding]:
        """The bindings of other users with the same contact at the same host, which cannot be theirs any more."""
        return [
            other
            for other in map(self._by_token.__getitem__, self._by_contact.get(binding.contact, ()))
            if other.impi != binding.impi and other.flow.remote[0] == binding.flow.remote[0]
        ]

    def is_ue_flow(self, flow: Flow) -> bool:
        """Whether somebody registered from exactly this transport, address and port."""
        return FlowAddress(flow.transport, flow.remote) in self._by_flow

    def is_of_user(self, flow: Flow, binding: Binding) -> bool:
        """Whether a flow comes from where the binding's user is, or is now."""
        host = flow.remote[0]
        return host == binding.flow.remote[0] or any(
            other.flow.remote[0] == host and other.impi == binding.impi for other in self.of_aor(binding.aor)
        )

    def originator(self, flow: Flow, claimed: Iterable[str]) -> Binding | None:
        """Say who sent an initial request: by its flow; by the identities it claims if the flow has many users.

        A UE that opened a new connection is known by its host and a claimed identity that is registered from there, or
        by its host alone if it hides its identity and nobody else is registered from there.
        """
        claimed = [uri for uri in claimed if not _is_anonymous(uri)]
        on_flow = self._by_flow.get(FlowAddress(flow.transport, flow.remote))
        if on_flow is not None and len(on_flow) == 1:
            return self._by_token[next(iter(on_flow))]
        for uri in claimed:
            for token in reversed(self._by_identity.get(_key_or_none(uri) or "", {})):
                binding = self._by_token[token]
                if token in on_flow if on_flow is not None else binding.flow.remote[0] == flow.remote[0]:
                    return binding
        return self._only_user_at(flow.remote[0]) if on_flow is None and not claimed else None

    def _only_user_at(self, host: str) -> Binding | None:
        bindings = [self._by_token[token] for token in self._by_host.get(host, ())]
        return bindings[-1] if len({binding.impi or binding.aor for binding in bindings}) == 1 else None

    def put(self, binding: Binding) -> None:
        """Remember a binding in place of the one with its token."""
        self.remove(binding.token)
        self._by_token[binding.token] = binding
        for index, key in self._places(binding):
            index.setdefault(key, {})[binding.token] = None

    def remove(self, token: str) -> Binding | None:
        """Forget a binding; None if there was none."""
        binding = self._by_token.pop(token, None)
        if binding is not None:
            for index, key in self._places(binding):
                tokens = index.get(key, {})
                tokens.pop(token, None)
                if not tokens:
                    index.pop(key, None)
        return binding

    def _places(self, binding: Binding) -> Iterator[tuple[dict[Any, dict[str, None]], Hashable]]:  # keys of three types
        yield self._by_flow, FlowAddress(binding.flow.transport, binding.flow.remote)
        yield self._by_host, binding.flow.remote[0]
        yield self._by_contact, binding.contact
        yield self._by_aor, binding.aor
        yield self._by_dialog, binding.dialog_token
        for identity in (binding.aor, *binding.identities):  # a barred one says who it is, too, but is never asserted
            key = _key_or_none(identity)
            if key is not None:
                yield self._by_identity, key


class CallKey(NamedTuple):
    """One UE's side of a call: a UE that calls itself has two of them."""

    call_id: str
    token: str  # of the UE's binding
    is_originating: bool  # our UE is the caller
    caller_tag: str


class RxSession(enum.Enum):
    """What the PCRF has of a call."""

    NONE = "none"
    OPEN = "open"
    UNKNOWN = "unknown"  # asked, but no answer came: it may have a session


@dataclass(slots=True, eq=False)
class Call:
    """What is known of one UE's side of a call, from its INVITE to its BYE."""

    key: CallKey
    identity: str  # of our UE, for the operator
    ue_address: str
    subscription: str  # sip:IMSI@domain
    icid: str | None
    rx_session_id: str
    rx: RxSession = RxSession.NONE
    requested: tuple[MediaComponent, ...] = ()  # what the PCRF was last asked for
    offer: Offer | None = None  # made in a response; its answer is yet to come in PRACK or ACK
    renegotiated_with: str | None = None  # the callee's tag of the dialog in which PRACK or UPDATE made a new answer
    answered_at: float | None = None
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A session description that waits for its answer (RFC 3264), and who made it."""

    body: bytes
    is_from_ue: bool


class Calls:
    """All calls between their first response and their end."""

    def __init__(self) -> None:
        self._by_key: dict[CallKey, Call] = {}
        self._by_token: dict[str, dict[CallKey, None]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: CallKey) -> Call | None:
        """The call with this key."""
        return self._by_key.get(key)

    def of_binding(self, token: str) -> list[Call]:
        """The calls of one binding."""
        return [self._by_key[key] for key in self._by_token.get(token, ())]

    def in_dialog(self, call_id: str, token: str, *, ue_tag: str, peer_tag: str) -> Call | None:
        """Find the call of a request within its dialog by the tags of our UE and of its peer."""
        called = self._by_key.get(CallKey(call_id, token, is_originating=True, caller_tag=ue_tag))
        return called or self._by_key.get(CallKey(call_id, token, is_originating=False, caller_tag=peer_tag))

    def put(self, call: Call) -> None:
        """Remember a call."""
        self._by_key[call.key] = call
        self._by_token.setdefault(call.key.token, {})[call.key] = None

    def remove(self, call: Call) -> None:
        """Forget a call, if it is still this one."""
        if self._by_key.get(call.key) is not call:
            return
        del self._by_key[call.key]
        keys = self._by_token[call.key.token]
        del keys[call.key]
        if not keys:
            del self._by_token[call.key.token]


@dataclass(slots=True, eq=False)
class PcscfState:
    """One P-CSCF: its settings and all it remembers."""

    config: PcscfConfig
    own: OwnUris
    ids: Ids
    registrations: Registrations = field(default_factory=Registrations)
    calls: Calls = field(default_factory=Calls)


def dialog_token(token: str) -> str:
    """Derive what stands for a Path token in Record-Route; nobody can go back from it."""
    return hashlib.sha256(token.encode()).hexdigest()[: len(token)]


def same_uri(one: str, other: str) -> bool:
    """Whether two URIs mean the same; what is neither sip, sips nor tel must be written the same."""
    if one == other:
        return True
    with suppress(ParseError):
        return parse_uri(one).equivalent(parse_uri(other))
    return False


def peer_of(request: Request) -> str:
    """Write where a request came from, for the operator."""
    assert request.flow is not None  # noqa: S101  the transport sets it on every message
    host, port = request.flow.remote
    return f"{with_brackets(host)}:{port}"


def loose_route(uri: str) -> str:
    """Write a Route value for a URI, which becomes a loose router's if it is not yet one."""
    parsed = SipUri.parse(uri)
    return f"<{uri if parsed.lr else parsed.with_param('lr')}>"


def _is_anonymous(uri: str) -> bool:
    """Whether a From says only that it says nothing (RFC 3323 4.1.1.3)."""
    return "@anonymous.invalid" in uri.lower()


def _key_or_none(uri: str) -> Impu | None:
    return _cached_key_or_none(uri) if len(uri) <= MAX_CACHED_CHARS else _uncached_key_or_none(uri)


def _uncached_key_or_none(uri: str) -> Impu | None:
    with suppress(ParseError):
        return impu_of(parse_uri(uri))
    return None


_cached_key_or_none = lru_cache(CACHED_URIS)(_uncached_key_or_none)
