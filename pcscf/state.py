"""What the P-CSCF remembers: who is registered through it and over which flow, and the calls it is part of.

Bindings survive a restart (TS 24.229 5.2.2.1); calls do not: their dialogs go on, because Record-Route tells all that
forwarding needs, but the PCRF's sessions of before end with the bearer.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Hashable, Iterable, Iterator, ValuesView
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from opencscf.common.errors import ParseError
from opencscf.common.ims.identity import Impu
from opencscf.common.ims.pheaders import visited_network_id
from opencscf.common.ims.public_identity import impu_of
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.head import DEFAULT_PORT
from opencscf.common.sip.uri import SipUri, comparable_host, parse_uri, with_brackets
from opencscf.pcscf.deadlines import Deadlines

if TYPE_CHECKING:
    from opencscf.common.ids import Ids
    from opencscf.common.sip.message import Request
    from opencscf.common.sip.proxy import OwnUris
    from opencscf.diameter.rx import MediaComponent
    from opencscf.pcscf.config import PcscfConfig

Fields: TypeAlias = "dict[str, str | int | float | None]"  # of a Report

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)

Found: TypeAlias = "tuple[Binding, ...] | ValuesView[Binding]"

_CANONICAL = re.compile(r"sip:[A-Za-z0-9\-_.+]++@[a-z0-9\-_.]++|tel:\+?[0-9]++", re.ASCII)

BINDING = "binding"  # the kind of record under which bindings are saved


@dataclass(slots=True)
class Binding:
    """One contact address of a registered user and how to reach it.

    There are as many as users: what many of them have in common shall be one object.
    """

    token: str  # the user part of our Path URI; nobody can guess it
    impi: str | None  # None if the UE registered without credentials
    aor: str  # the public user identity of the REGISTER's To, in canonical form
    contact: str  # URI
    flow: Flow
    service_route: tuple[str, ...]  # URIs (RFC 3608)
    identities: tuple[str, ...]  # URIs of P-Associated-URI, never empty; the first is the default public user identity
    expires_at: float
    # What can be told from the above, because every call asks for it
    dialog_token: str = field(init=False, compare=False)  # stands for the token in Record-Route, which other UEs see
    claims: tuple[str, ...] = field(init=False, compare=False)  # the canonical identities under which the user may call
    towards_ue: Flow = field(init=False, compare=False)
    timer_at: float = field(init=False, compare=False, default=0.0)  # when the one timer fires that counts

    def __post_init__(self) -> None:
        self.dialog_token = dialog_token(self.token)
        claims = [self.aor]  # a barred one says who it is, too, but is never asserted
        for identity in self.identities:
            claim = _key_or_none(identity)
            if claim is not None and claim not in claims:
                claims.append(claim)
        self.claims = self.identities if (*claims,) == self.identities else (*claims,)
        self.towards_ue = self._towards_ue()

    @property
    def default_identity(self) -> str:
        """The identity that is asserted unless the UE prefers another one (TS 24.229 5.2.6.3.1)."""
        return self.identities[0]

    def _towards_ue(self) -> Flow:
        """How requests reach the UE: where its Contact says that it listens, or behind a NAT where it registered from.

        Phones may register from another port than they listen on. An open connection is used whatever its remote
        address, which counts when it must be opened anew.
        """
        host, port = self.flow.remote
        if self.contact.partition(";")[0].endswith(f"@{with_brackets(host)}:{port}"):
            return self.flow
        with suppress(ParseError):
            contact = parse_uri(self.contact)
            if isinstance(contact, SipUri) and comparable_host(contact.host) == self.flow.remote[0]:
                remote = (self.flow.remote[0], contact.port or DEFAULT_PORT)
                return self.flow if remote == self.flow.remote else self.flow._replace(remote=remote)
        return self.flow

    def identity_matching(self, uri: str) -> str | None:
        """The registered identity that a URI means, None if it is not this user's."""
        key = _key_or_none(uri)
        if key is None or key in self.identities:
            return key
        return next((own for own in self.identities if _key_or_none(own) == key), None)

    def has_contact(self, uri: str) -> bool:
        """Whether a contact URI is this binding's (RFC 3261 19.1.4)."""
        return same_uri(self.contact, uri)

    def is_on(self, flow: Flow) -> bool:
        """Whether it was made over a flow: the same transport, address and port."""
        return self.flow.transport is flow.transport and self.flow.remote == flow.remote

    def is_found_as(self, other: Binding) -> bool:
        """Whether it is looked for under all that another one is."""
        return self.is_on(other.flow) and self.contact == other.contact and self.claims == other.claims

    def renew(self, refresh: Binding) -> None:
        """Take over what a refresh changes, and keep the objects for what stays the same."""
        self.expires_at = refresh.expires_at
        self.service_route = refresh.service_route
        if self.impi != refresh.impi:
            self.impi = refresh.impi
        if self.flow != refresh.flow:
            self.flow, self.towards_ue = refresh.flow, refresh.towards_ue
        if self.identities != refresh.identities:
            self.identities = refresh.identities

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
            flow=Flow(Transport(record["transport"]), shared((local_host, local_port)), (remote_host, remote_port)),
            service_route=shared(tuple(record["service_route"])),
            identities=identities_of(record["aor"], record["identities"]),
            expires_at=record["expires_at"],
        )


class _Index(Generic[K]):
    """Bindings by something that mostly one of them has; of several, who came last is last."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[K, Binding | dict[str, Binding]] = {}  # one, or several by token

    def __len__(self) -> int:
        return len(self._found)

    def of(self, key: K) -> Found:
        """All bindings of a key."""
        found = self._found.get(key)
        if found is None:
            return ()
        return (found,) if isinstance(found, Binding) else found.values()

    def add(self, key: K, binding: Binding) -> None:
        """Put a binding after the others of its key."""
        found = self._found.setdefault(key, binding)
        if found is binding:
            return
        if isinstance(found, dict):
            found[binding.token] = binding
        else:
            self._found[key] = {found.token: found, binding.token: binding}

    def put_last(self, key: K, binding: Binding) -> None:
        """Put a binding that is there after the others of its key."""
        found = self._found[key]
        if isinstance(found, dict):
            del found[binding.token]
            found[binding.token] = binding

    def discard(self, key: K, binding: Binding) -> None:
        """Take out a binding that is there."""
        found = self._found[key]
        if isinstance(found, Binding):
            del self._found[key]
            return
        del found[binding.token]
        if len(found) == 1:
            (self._found[key],) = found.values()


class Registrations:
    """All bindings, found by what a message shows of its sender."""

    def __init__(self) -> None:
        self._by_token: dict[str, Binding] = {}
        self._by_dialog: dict[str, Binding] = {}
        self._by_remote: dict[Transport, _Index[tuple[str, int]]] = {transport: _Index() for transport in Transport}
        self._by_host: _Index[str] = _Index()
        self._by_contact: _Index[str] = _Index()
        self._by_claim: _Index[str] = _Index()
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
        return self._by_dialog.get(dialog_token)

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
        return [binding for binding in self._by_claim.of(aor) if binding.aor == aor]

    def find(self, aor: str, contact: str) -> Binding | None:
        """The binding of one contact."""
        for binding in self.of_aor(aor):
            if binding.has_contact(contact):
                return binding
        return None

    def displaced_by(self, binding: Binding) -> list[Binding]:
        """The bindings of other users with the same contact at the same host, which cannot be theirs any more."""
        return [
            other
            for other in self._by_contact.of(binding.contact)
            if other.impi != binding.impi and other.flow.remote[0] == binding.flow.remote[0]
        ]

    def is_ue_flow(self, flow: Flow) -> bool:
        """Whether somebody registered from exactly this transport, address and port."""
        return bool(self._on(flow))

    def is_of_user(self, flow: Flow, binding: Binding) -> bool:
        """Whether a flow comes from where the binding's user is, or is now."""
        host = flow.remote[0]
        return host == binding.flow.remote[0] or any(
            other.flow.remote[0] == host and other.impi == binding.impi for other in self.of_aor(binding.aor)
        )

    def only_user_on(self, flow: Flow) -> Binding | None:
        """The binding that was made over a flow; None if several were, or none."""
        on_flow = self._on(flow)
        return next(iter(on_flow)) if len(on_flow) == 1 else None

    def originator(self, flow: Flow, claimed: Iterable[str]) -> Binding | None:
        """Say who sent an initial request: by its flow; by the identities it claims if the flow has many users.

        A UE that opened a new connection is known by its host and a claimed identity that is registered from there, or
        by its host alone if it hides its identity and nobody else is registered from there.
        """
        on_flow = self._on(flow)
        if len(on_flow) == 1:
            return next(iter(on_flow))
        claimed = [uri for uri in claimed if not _is_anonymous(uri)]
        for uri in claimed:
            claimants: list[Binding] = [*self._by_claim.of(_key_or_none(uri) or "")]
            for binding in reversed(claimants):
                if binding.is_on(flow) if on_flow else binding.flow.remote[0] == flow.remote[0]:
                    return binding
        return self._only_user_at(flow.remote[0]) if not on_flow and not claimed else None

    def _on(self, flow: Flow) -> Found:
        return self._by_remote[flow.transport].of(flow.remote)

    def _only_user_at(self, host: str) -> Binding | None:
        latest = None
        for binding in self._by_host.of(host):
            if latest is not None and (latest.impi or latest.aor) != (binding.impi or binding.aor):
                return None
            latest = binding
        return latest

    def put(self, binding: Binding) -> Binding:
        """Remember a binding in place of the one with its token; return the object that stands for both."""
        former = self._by_token.get(binding.token)
        if former is not None and former.is_found_as(binding):
            former.renew(binding)
            for index, key in self._places(former):
                index.put_last(key, former)
            return former
        if former is not None:
            self.remove(former.token)
        self._by_token[binding.token] = binding
        self._by_dialog[binding.dialog_token] = binding
        for index, key in self._places(binding):
            index.add(key, binding)
        return binding

    def remove(self, token: str) -> Binding | None:
        """Forget a binding; None if there was none."""
        binding = self._by_token.pop(token, None)
        if binding is None:
            return None
        del self._by_dialog[binding.dialog_token]
        for index, key in self._places(binding):
            index.discard(key, binding)
        return binding

    def _places(self, binding: Binding) -> list[tuple[_Index[Any], Any]]:  # keys of two types
        flow, by_claim = binding.flow, self._by_claim
        return [
            (self._by_remote[flow.transport], flow.remote),
            (self._by_host, flow.remote[0]),
            (self._by_contact, binding.contact),
            *[(by_claim, identity) for identity in binding.claims],
        ]


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
        self._by_key: dict[tuple[str, str, bool, str], Call] = {}  # by what a CallKey is made of
        self._by_token: dict[str, Call | dict[CallKey, Call]] = {}  # one, as most have, or several

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: CallKey) -> Call | None:
        """The call with this key."""
        return self._by_key.get(key)

    def of_binding(self, token: str) -> list[Call]:
        """The calls of one binding."""
        found = self._by_token.get(token)
        if found is None:
            return []
        return [found] if isinstance(found, Call) else [*found.values()]

    def in_dialog(self, call_id: str, token: str, *, ue_tag: str, peer_tag: str) -> Call | None:
        """Find the call of a request within its dialog by the tags of our UE and of its peer."""
        by_key = self._by_key  # which takes plain tuples, too, and those are made faster
        return by_key.get((call_id, token, True, ue_tag)) or by_key.get((call_id, token, False, peer_tag))

    def put(self, call: Call) -> None:
        """Remember a call."""
        if self._by_key.get(call.key) is not call:
            self._by_key[call.key] = call
            self._add(call)

    def remove(self, call: Call) -> None:
        """Forget a call, if it is still this one."""
        if self._by_key.get(call.key) is not call:
            return
        del self._by_key[call.key]
        token = call.key.token
        found = self._by_token[token]
        if isinstance(found, Call):
            del self._by_token[token]
            return
        del found[call.key]
        if len(found) == 1:
            (self._by_token[token],) = found.values()

    def _add(self, call: Call) -> None:
        key = call.key
        found = self._by_token.setdefault(key.token, call)
        if isinstance(found, dict):
            found[key] = call
        elif found.key == key:
            self._by_token[key.token] = call
        else:
            self._by_token[key.token] = {found.key: found, key: call}


@dataclass(slots=True, eq=False)
class PcscfState:
    """One P-CSCF: its settings and all it remembers."""

    config: PcscfConfig
    own: OwnUris
    ids: Ids
    registrations: Registrations = field(default_factory=Registrations)
    calls: Calls = field(default_factory=Calls)
    deadlines: Deadlines[Call] = field(default_factory=Deadlines)  # of answered calls
    # Parts of header fields that are the same in every message
    path_address: str = field(init=False)  # in Path, what follows our token
    icid_generated_at: str = field(init=False)
    visited_network: str = field(init=False)
    route_to_icscf: str = field(init=False)
    authorises_media: bool = field(init=False)
    tells_calls: bool = field(init=False)  # to the operator

    def __post_init__(self) -> None:
        config = self.config
        self.path_address = config.path_address
        self.icid_generated_at = f";icid-generated-at={config.host}"
        self.visited_network = visited_network_id(config.pcscf.visited_network)
        self.route_to_icscf = loose_route(config.pcscf.icscf)
        self.authorises_media = config.authorises_media
        self.tells_calls = config.log.tells_stories

    def charging_vector(self, icid: str) -> str:
        """Write P-Charging-Vector for a new session or registration (RFC 7315 4.6); the ICID is a token."""
        return f"icid-value={icid}{self.icid_generated_at}"


def shared(value: V) -> V:
    """Return the first of all equal values, such as the Service-Route that an S-CSCF gives to all its users."""
    first: V = _first(value)
    return first


@lru_cache(4096)
def _first(value: Any) -> Any:  # of any type: a cache knows no type variables
    return value


def identities_of(aor: str, uris: Iterable[str]) -> tuple[str, ...]:
    """Keep the registered identities; the one that is the address-of-record is not held twice."""
    return tuple([aor if uri == aor else uri for uri in uris])


def dialog_token(token: str) -> str:
    """Derive what stands for a Path token in Record-Route; nobody can go back from it."""
    return hashlib.sha256(token.encode()).hexdigest()[: len(token)]


def same_uri(one: str, other: str) -> bool:
    """Whether two URIs mean the same; what is neither sip, sips nor tel must be written the same."""
    if one == other:
        return True
    try:
        return parse_uri(one).equivalent(parse_uri(other))
    except ParseError:
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


def _key_or_none(uri: str) -> str | None:
    """The canonical form of an identity, None if it is none."""
    try:
        return canonical_identity(uri)
    except ParseError:
        return None


def canonical_identity(uri: str) -> Impu:
    """The canonical form of an identity, which most are written in already."""
    return Impu(uri) if _CANONICAL.fullmatch(uri) else impu_of(parse_uri(uri))
