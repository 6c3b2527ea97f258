"""The P- header fields of the IMS and what of them may cross to and from a UE (RFC 3323, 3325, 7315; TS 24.229 4.4).

Not covered: who adds which inter-operator identifiers to P-Charging-Vector and when, Privacy services other than id.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from opencscf.common.errors import ParseError
from opencscf.common.sip.headers import NameAddr
from opencscf.common.sip.params import NO_PARAMS, QUOTED, TOKEN_CHARS, Params, is_token, parse_params, quote, unquote

if TYPE_CHECKING:
    from opencscf.common.sip.message import Message

CHARGING: Final = ("P-Charging-Vector", "P-Charging-Function-Addresses")  # TS 24.229 5.2.1

LOCATION: Final = ("P-Access-Network-Info", "Cellular-Network-Info")  # the cell of a user (RFC 7315 4.4)

# What only a node inside the trust domain may say (TS 24.229 4.4), besides the charging header fields.
TRUST_DOMAIN_ONLY: Final = (
    "P-Asserted-Identity",
    "P-Asserted-Service",
    "P-Associated-URI",
    "P-Called-Party-ID",
    "P-Profile-Key",
    "P-Served-User",
    "P-User-Database",
    "P-Visited-Network-ID",
)

_UNTRUSTED: Final = frozenset(name.lower() for name in (*CHARGING, *TRUST_DOMAIN_ONLY))
_HIDDEN: Final = frozenset(name.lower() for name in (*CHARGING, *LOCATION))


_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]++\]")
_NETWORK: Final = re.compile(rf"({QUOTED}|[^;]*+)(;.*)?", re.DOTALL)
_ACCESS: Final = re.compile(rf"([{TOKEN_CHARS}]++)\s*+(;.*)?", re.DOTALL | re.ASCII)


class ChargingVector(NamedTuple):
    """P-Charging-Vector (RFC 7315 4.6): what correlates the charging records of one session."""

    params: Params

    @classmethod
    def new(cls, icid_value: str, icid_generated_at: str) -> ChargingVector:
        """Make one for a new session; an IPv6 address is given in brackets."""
        return cls(Params([("icid-value", _gen_value(icid_value)), ("icid-generated-at", icid_generated_at)]))

    @classmethod
    def parse(cls, text: str) -> ChargingVector:
        """Read the header field value; ParseError if it has no icid-value."""
        params = parse_params(f";{text}")
        if not params.get("icid-value"):
            raise ParseError("P-Charging-Vector without icid-value")
        return cls(params)

    @property
    def icid_value(self) -> str:
        """What identifies the session in all charging records."""
        return self.params.get("icid-value") or ""

    @property
    def icid_generated_at(self) -> str | None:
        """The host that made the icid-value."""
        return self.params.get("icid-generated-at")

    @property
    def orig_ioi(self) -> str | None:
        """The operator of the caller's side."""
        return self.params.get("orig-ioi")

    @property
    def term_ioi(self) -> str | None:
        """The operator of the callee's side."""
        return self.params.get("term-ioi")

    def with_param(self, name: str, value: str) -> ChargingVector:
        """Return a copy with a parameter set, quoted where it is no token."""
        return ChargingVector(self.params.replaced(name, _gen_value(value)))

    def __str__(self) -> str:
        return str(self.params)[1:]


class ChargingFunctionAddresses(NamedTuple):
    """P-Charging-Function-Addresses (RFC 7315 4.5): where charging records go, the first one first."""

    ccf: tuple[str, ...] = ()
    ecf: tuple[str, ...] = ()

    @classmethod
    def parse(cls, elements: list[str]) -> ChargingFunctionAddresses:
        """Read the elements of the header field, in which the second address has a name of its own or not (5.5)."""
        found: dict[str, list[str]] = {"ccf": [], "ecf": [], "ccf-2": [], "ecf-2": []}
        for element in elements:
            params = parse_params(f";{element}")
            for name, value in params:
                if value and (of_kind := found.get(name.lower())) is not None:
                    of_kind.append(unquote(value))
        return cls(tuple(found["ccf"] + found["ccf-2"]), tuple(found["ecf"] + found["ecf-2"]))

    def __str__(self) -> str:
        kinds = (("ccf", self.ccf), ("ecf", self.ecf))
        return "; ".join([f"{name}={_gen_value(host)}" for name, hosts in kinds for host in hosts])


class AccessNetworkInfo(NamedTuple):
    """One element of P-Access-Network-Info (RFC 7315 4.4): an access type or class, and where the user is."""

    access: str
    params: Params = NO_PARAMS

    @classmethod
    def parse(cls, text: str) -> AccessNetworkInfo:
        """Read one element."""
        match = _ACCESS.fullmatch(text.strip())
        if match is None:
            raise ParseError("malformed P-Access-Network-Info")
        return cls(match[1], parse_params(match[2] or ""))

    @property
    def is_network_provided(self) -> bool:
        """Whether it is the network that says so, not the UE (5.4)."""
        return self.params.has("network-provided")

    def __str__(self) -> str:
        return f"{self.access}{self.params}"


def visited_network_id(network: str) -> str:
    """Write a P-Visited-Network-ID value, quoted because most identifiers hold characters that no token may."""
    return quote(network)


def visited_networks(message: Message) -> list[str]:
    """Read P-Visited-Network-ID (RFC 7315 4.3): the networks' names without quotes."""
    return [_network(text) for text in message.values("P-Visited-Network-ID")]


def _network(text: str) -> str:
    match = _NETWORK.fullmatch(text)
    return unquote(match[1].strip()) if match else text.partition(";")[0].strip()


def access_networks(message: Message) -> list[AccessNetworkInfo]:
    """Read P-Access-Network-Info: what the UE says, the network, or both."""
    return [AccessNetworkInfo.parse(text) for text in message.values("P-Access-Network-Info")]


def charging_functions(message: Message) -> ChargingFunctionAddresses:
    """Read P-Charging-Function-Addresses."""
    return ChargingFunctionAddresses.parse(message.values("P-Charging-Function-Addresses"))


def called_party(message: Message) -> NameAddr | None:
    """Read P-Called-Party-ID (RFC 7315 4.2), the identity by which the callee was called."""
    text = message.get("P-Called-Party-ID")
    return NameAddr.parse(text) if text else None


def preferred_identities(message: Message) -> list[NameAddr]:
    """Read P-Preferred-Identity (RFC 3325 9.2): at most a SIP and a tel URI; what cannot be read is no preference."""
    identities = []
    for text in message.values("P-Preferred-Identity"):
        with suppress(ParseError):
            identities.append(NameAddr.parse(text))
    return identities


def asserted_identities(message: Message) -> list[NameAddr]:
    """Read P-Asserted-Identity (RFC 3325 9.1): at most a SIP and a tel URI."""
    return [NameAddr.parse(text) for text in message.values("P-Asserted-Identity")]


def associated_uris(message: Message) -> list[NameAddr]:
    """Read P-Associated-URI (RFC 7315 4.1): the registered identities, the default one first."""
    return [NameAddr.parse(text) for text in message.values("P-Associated-URI")]


def wants_identity_hidden(message: Message) -> bool:
    """Whether the user asked with `Privacy: id` that no untrusted party learns the asserted identity (RFC 3325 9.3)."""
    return any("id" in _words(line) for line in message.get_all("Privacy"))


def remove_untrusted(message: Message) -> None:
    """Take out of a UE's message what only the network may say: charging, assertions and its view of the access."""
    message.remove_all(_UNTRUSTED)
    _remove_network_provided_access(message)


def hide_from_ue(message: Message) -> None:
    """Take out what the UE a message goes to must not see: charging, where the other one is, a private identity."""
    message.remove_all(_HIDDEN)
    if message.has("P-Asserted-Identity") and wants_identity_hidden(message):
        message.remove("P-Asserted-Identity")


def _remove_network_provided_access(message: Message) -> None:
    if not message.has("P-Access-Network-Info"):
        return
    values = message.values("P-Access-Network-Info")
    kept = [value for value in values if "network-provided" not in value.lower()]
    if not kept:
        message.remove("P-Access-Network-Info")
    elif len(kept) < len(values):
        message.set("P-Access-Network-Info", ", ".join(kept))


def _words(privacy: str) -> set[str]:
    return {word.strip() for word in privacy.lower().replace(",", ";").split(";")}


def _gen_value(text: str) -> str:
    """Write a token, an IPv6 address in brackets, or else a quoted-string (RFC 3261 25.1)."""
    return text if is_token(text) or _IPV6.fullmatch(text) else quote(text)
