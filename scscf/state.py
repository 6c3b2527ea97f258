"""What an S-CSCF remembers: registrations, which survive the process, and challenges, which need not."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from opencscf.common.ims.identity import Impi, Impu
from opencscf.diameter.cx import ChargingInformation
from opencscf.scscf.bindings import ContactBinding, live
from opencscf.scscf.profile import UserProfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opencscf.common.ims.aka import AuthVector
    from opencscf.common.ims.register import Register

MAX_PENDING = 100_000  # challenges: more are asked for only by somebody who does not want to answer them
REGISTRATION_KIND = "registration"  # of the store's records


class Registration(NamedTuple):
    """An implicit registration set of one private identity: `impu` is the identity that was registered first.

    A user costs 2 KiB, most of which are these strings: those that are equal are one string wherever they are kept.
    """

    key: str
    impi: Impi
    impu: Impu
    profile: UserProfile
    bindings: tuple[ContactBinding, ...]
    nonce: str = ""  # of the challenge that authenticated the UE last
    visited_network: str = ""
    charging: ChargingInformation | None = None

    def live(self, now: float) -> tuple[ContactBinding, ...]:
        """The contacts that have not expired."""
        return live(self.bindings, now)

    def to_json(self) -> dict[str, Any]:  # JSON
        """Write the registration for the store."""
        return {
            "impi": self.impi,
            "impu": self.impu,
            "profile": self.profile.to_json(),
            "bindings": [binding.to_json() for binding in self.bindings],
            "nonce": self.nonce,
            "visited_network": self.visited_network,
            "charging": asdict(self.charging) if self.charging else None,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Registration:  # JSON
        """Read what `to_json` wrote; KeyError, TypeError, ValueError or ParseError if it is something else."""
        profile = UserProfile.from_json(value["profile"])
        return cls(
            registration_key(value["impi"], value["impu"]),
            Impi(value["impi"]),
            profile.own_text(Impu(value["impu"])),
            profile,
            tuple([ContactBinding.from_json(binding) for binding in value["bindings"]]),
            value["nonce"],
            sys.intern(value["visited_network"]),
            ChargingInformation(**value["charging"]) if value["charging"] else None,
        )


def registration_key(impi: str, impu: str) -> str:
    """The name of the store's record: a private identity may register several implicit sets."""
    return f"{impi} {impu}"


class PendingAuthentication(NamedTuple):
    """A challenge that was sent and not yet answered, as long as reg-await-auth runs (5.4.1.2.1)."""

    impi: Impi
    impu: Impu
    call_id: str
    nonce: str
    vector: AuthVector
    expires_at: float
    resyncs: int = 0  # how many challenges in a row the UE has refused as out of sequence


class ScscfState:
    """Registrations by identity, and challenges by user."""

    __slots__ = ("_by_impu", "_pending", "_registrations", "_timers", "is_await_auth_timer_set")

    def __init__(self) -> None:
        self._registrations: dict[str, Registration] = {}
        self._by_impu: dict[str, Registration | tuple[Registration, ...]] = {}  # several UEs may share an identity
        # The oldest first: all last equally long. A dict would search for its first key among all that have been there.
        self._pending: OrderedDict[tuple[Impi, Impu], PendingAuthentication] = OrderedDict()
        self._timers: dict[str, float] = {}  # by registration key: when its timer will fire
        self.is_await_auth_timer_set = False

    # Registrations

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._registrations.values())

    def registrations(self, impu: str) -> tuple[Registration, ...]:
        """All registrations that an identity belongs to, expired ones too until their timer has fired."""
        found = self._by_impu.get(impu, ())
        return (found,) if isinstance(found, Registration) else found

    def registration(self, impi: str, impu: str) -> Registration | None:
        """The registration of a private identity that a public one belongs to."""
        found = self._by_impu.get(impu, ())
        if isinstance(found, Registration):
            return found if found.impi == impi else None
        return next((registration for registration in found if registration.impi == impi), None)

    def by_key(self, key: str) -> Registration | None:
        """The registration of this store key."""
        return self._registrations.get(key)

    def put(self, registration: Registration) -> None:
        """Remember a registration in the place of its former self."""
        self.remove(registration)
        self._registrations[registration.key] = registration
        for impu in _impus(registration):
            others = self.registrations(impu)
            self._by_impu[impu] = (*others, registration) if others else registration

    def remove(self, registration: Registration) -> None:
        """Forget a registration."""
        former = self._registrations.pop(registration.key, None)
        if former is None:
            return
        for impu in _impus(former):
            others = tuple([found for found in self.registrations(impu) if found is not former])
            if not others:
                del self._by_impu[impu]
            else:
                self._by_impu[impu] = others if len(others) > 1 else others[0]

    # Expiry timers: at most one is needed per registration, however often the UE refreshes it

    def timer_needed(self, registration: Registration, now: float) -> float | None:
        """Say in how many seconds the next contact expires, unless a timer that fires before is already set."""
        due = min([binding.expires_at for binding in registration.bindings])
        if (armed := self._timers.get(registration.key)) is not None and armed <= due:
            return None
        self._timers[registration.key] = due
        return max(0.0, due - now)

    def timer_fired(self, key: str, now: float) -> bool:
        """Whether this is the timer that counts, and not an older one that has been overtaken."""
        due = self._timers.get(key)
        if due is None or due > now + 1:
            return False
        del self._timers[key]
        return True

    # Challenges

    def pending_for(self, register: Register, now: float) -> PendingAuthentication | None:
        """The challenge that a REGISTER answers: same user, same nonce, same Call-ID, in time (5.4.1.2.2)."""
        pending = self._pending.get((register.impi, register.impu))
        if pending is None or pending.expires_at <= now or pending.nonce != register.credential("nonce"):
            return None
        return pending if pending.call_id == register.request.call_id else None

    def await_answer(self, pending: PendingAuthentication) -> None:
        """Remember a challenge in the place of an earlier one of the same user (5.4.1.2.1), or of the oldest one."""
        self.end_authentication(pending.impi, pending.impu)
        if len(self._pending) >= MAX_PENDING:
            self._pending.popitem(last=False)
        self._pending[pending.impi, pending.impu] = pending

    def end_authentication(self, impi: Impi, impu: Impu) -> None:
        """Forget a user's challenge: it is answered, or given up."""
        self._pending.pop((impi, impu), None)

    def is_challenged(self, impi: Impi, impu: Impu) -> bool:
        """Whether a challenge of this user is open."""
        return (impi, impu) in self._pending

    def oldest_pending(self) -> PendingAuthentication | None:
        """The challenge that ends next."""
        return next(iter(self._pending.values()), None)


def _impus(registration: Registration) -> list[Impu]:
    impus = [identity.impu for identity in registration.profile.identities]  # which differ from each other
    return impus if registration.impu in impus else [*impus, registration.impu]
