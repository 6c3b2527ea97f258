"""Contacts of a registration, and what a REGISTER does to them (RFC 3261 10.3, RFC 3327, RFC 5626 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opencscf.common.sip.headers import NameAddr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opencscf.common.ims.register import Register
    from opencscf.scscf.config import RegistrationTable


NEVER_TOO_BRIEF_S: Final = 3600  # RFC 3261 10.3 step 7
OUTBOUND: Final = "outbound"  # the option tag (RFC 5626 11.4)


class ContactBinding(NamedTuple):
    """One registered contact; `contact` is the header field value as it came, less its expires parameter."""

    contact: str
    path: tuple[str, ...]
    expires_at: float
    call_id: str
    cseq: int
    refreshed_at: float

    @property
    def address(self) -> NameAddr:
        """The contact with its feature tags."""
        return NameAddr.parse(self.contact)

    def with_expires(self, now: float) -> str:
        """Write it as a 200 to REGISTER tells it (RFC 3261 10.3 step 8)."""
        return f"{self.contact};expires={self.expires_s(now)}"

    def expires_s(self, now: float) -> int:
        """How long it still lasts."""
        return max(0, round(self.expires_at - now))

    def to_json(self) -> dict[str, Any]:  # JSON
        """Write the binding for the store."""
        return {
            "contact": self.contact,
            "path": list(self.path),
            "expires_at": self.expires_at,
            "call_id": self.call_id,
            "cseq": self.cseq,
            "refreshed_at": self.refreshed_at,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ContactBinding:  # JSON
        """Read what `to_json` wrote; ParseError if the contact is none."""
        binding = cls(**{**value, "path": tuple(value["path"])})
        NameAddr.parse(binding.contact)
        return binding


class Rejected(NamedTuple):
    """Why the contacts of a REGISTER are not taken."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


def live(bindings: tuple[ContactBinding, ...], now: float) -> tuple[ContactBinding, ...]:
    """The bindings that have not expired."""
    for binding in bindings:
        if binding.expires_at <= now:
            return tuple([binding for binding in bindings if binding.expires_at > now])
    return bindings


def update(
    bindings: tuple[ContactBinding, ...], register: Register, limits: RegistrationTable, now: float
) -> tuple[ContactBinding, ...] | Rejected:
    """Add, refresh and remove what the REGISTER asks for, all of it or nothing (RFC 3261 10.3 steps 6 and 7)."""
    request = register.request
    current = live(bindings, now)
    contacts = request.contacts
    if not contacts and request.is_contact_star:
        if request.expires != 0:
            return Rejected(400, "Contact * without Expires 0")
        return _stale(current, register) or ()
    taken = flows(register, contacts)
    if isinstance(taken, Rejected):
        return taken
    if len(taken) > limits.max_contacts:
        return Rejected(403, f"more than {limits.max_contacts} contacts")
    for contact in taken:
        same = [binding for binding in current if _is_same(binding.address, contact)]
        if rejected := _stale(same, register):
            return rejected
        expires_s = _granted_expires_s(register, contact, limits)
        if isinstance(expires_s, Rejected):
            return expires_s
        if same:
            current = tuple([binding for binding in current if binding not in same])
        if expires_s > 0:
            current += (_bind(contact, register, now, expires_s),)
    return _newest(current, limits.max_contacts)


def flows(register: Register, contacts: list[NameAddr]) -> list[NameAddr] | Rejected:
    """Return the contacts of a REGISTER, with reg-id only where the first hop keeps the flow it names (RFC 5626 6)."""
    if not _name_flows(contacts):
        return contacts
    path = register.request.path
    if not path or not path[-1].sip_uri.params.has("ob"):  # the first hop's is the lowest
        if _knows_outbound(register):
            return Rejected(439, "")
        return [contact.without_params("reg-id") for contact in contacts]
    contacts = [contact if contact.get("+sip.instance") else contact.without_params("reg-id") for contact in contacts]
    added = [contact for contact in contacts if register.requested_expires_s(contact) != 0]
    if len(added) > 1 and any(contact.get("reg-id") is not None for contact in added):
        return Rejected(400, "a flow and another contact in one REGISTER")
    return contacts


def is_outbound(register: Register) -> bool:
    """Whether a REGISTER was taken by the rules of RFC 5626, of which its sender has to be told (6)."""
    contacts = register.request.contacts
    if not _name_flows(contacts) or not _knows_outbound(register):
        return False
    taken = flows(register, contacts)
    return not isinstance(taken, Rejected) and _name_flows(taken)


def _name_flows(contacts: list[NameAddr]) -> bool:
    return any(contact.get("reg-id") is not None for contact in contacts)


def _knows_outbound(register: Register) -> bool:
    return OUTBOUND in {value.lower() for value in register.request.values("Supported")}


def _bind(contact: NameAddr, register: Register, now: float, expires_s: int) -> ContactBinding:
    request = register.request
    return ContactBinding(
        contact=str(contact.without_params("expires")),
        path=tuple([str(hop) for hop in request.path]),
        expires_at=now + expires_s,
        call_id=request.call_id,
        cseq=request.cseq.number,
        refreshed_at=now,
    )


def _granted_expires_s(register: Register, contact: NameAddr, limits: RegistrationTable) -> int | Rejected:
    requested = register.requested_expires_s(contact)
    if requested is None:
        return limits.default_expires_s
    if 0 < requested < min(limits.min_expires_s, NEVER_TOO_BRIEF_S):
        return Rejected(423, f"expires below {limits.min_expires_s} s", (("Min-Expires", str(limits.min_expires_s)),))
    return min(requested, limits.max_expires_s)


def _is_same(registered: NameAddr, contact: NameAddr) -> bool:
    """Whether a contact takes another one's place: by its URI, or as the same flow of the same UE (RFC 5626 6)."""
    instance = contact.get("+sip.instance")
    if instance and registered.get("+sip.instance") == instance:
        known, flow = registered.get("reg-id"), contact.get("reg-id")
        if known == flow:
            return True
        if known is not None and flow is not None:
            return False  # two flows of one UE, which may give the same address for both
    return registered.uri == contact.uri or registered.sip_uri.equivalent(contact.sip_uri)


def _stale(bindings: Iterable[ContactBinding], register: Register) -> Rejected | None:
    """Refuse a REGISTER that was overtaken by a later one of the same UE."""
    request = register.request
    for binding in bindings:
        if binding.call_id == request.call_id and request.cseq.number <= binding.cseq:
            return Rejected(500, f"CSeq is not above {binding.cseq}, which was seen before")
    return None


def _newest(bindings: tuple[ContactBinding, ...], count: int) -> tuple[ContactBinding, ...]:
    """Drop the contacts refreshed longest ago: a UE that lost its address without a word leaves them behind."""
    if len(bindings) <= count:
        return bindings
    kept = sorted(bindings, key=lambda binding: binding.refreshed_at)[-count:]
    return tuple(binding for binding in bindings if binding in kept)
