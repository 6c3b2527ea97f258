"""The P- header fields of the IMS and what of them may cross to and from a UE (RFC 3323, 3325, 7315; TS 24.229 4.4).

Not covered: what operators tell each other in P-Charging-Vector (orig-ioi, term-ioi), Privacy services other than id.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import ParseError
from opencscf.common.sip.headers import NameAddr
from opencscf.common.sip.params import Params, is_token, parse_params, quote

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


@dataclass(frozen=True, slots=True)
class ChargingVector:
    """P-Charging-Vector (RFC 7315 4.6): what correlates the charging records of one session."""

    params: Params

    @classmethod
    def new(cls, icid_value: str, icid_generated_at: str) -> ChargingVector:
        """Make one for a new session; an IPv6 address is given in brackets."""
        return cls(Params([("icid-value", _gen_value(icid_value)), ("icid-generated-at", icid_generated_at)]))

    @classmethod
    def parse(cls, text: str) -> ChargingVector:
        """Read the header field value; ParseError if it has no icid-value."""
        vector = cls(parse_params(f";{text}"))
        if not vector.params.get("icid-value"):
            raise ParseError("P-Charging-Vector without icid-value")
        return vector

    @property
    def icid_value(self) -> str:
        """What identifies the session in all charging records."""
        return self.params.get("icid-value") or ""

    @property
    def icid_generated_at(self) -> str | None:
        """The host that made the icid-value."""
        return self.params.get("icid-generated-at")

    def __str__(self) -> str:
        return str(self.params).removeprefix(";")


def visited_network_id(network: str) -> str:
    """Write a P-Visited-Network-ID value, quoted because most identifiers hold characters that no token may."""
    return quote(network)


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
    return {word.strip().lower() for word in privacy.replace(",", ";").split(";")}


def _gen_value(text: str) -> str:
    return text if is_token(text) else quote(text)
