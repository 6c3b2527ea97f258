"""What the HSS knows of one subscriber: identities, keys, and which S-CSCF serves them in which state (TS 29.228 6)."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field


class UserState(enum.IntEnum):
    """The registration state of a subscriber's one implicit registration set (TS 29.228 3.1, 6.1.2)."""

    NOT_REGISTERED = 0
    REGISTERED = 1
    UNREGISTERED = 2  # not registered, but an S-CSCF serves the unregistered state


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """One public user identity; a barred one may register, and nothing else."""

    impu: str
    is_barred: bool = False


@dataclass(slots=True)
class Subscription:
    """One IMS subscription with one private identity; its public identities are one implicit registration set."""

    imsi: str
    impi: str
    msisdn: str
    identities: tuple[PublicIdentity, ...]
    k: bytes = field(repr=False)
    opc: bytes = field(repr=False)
    amf: bytes = field(repr=False)
    password: str = field(default="", repr=False)
    sqn: int = 0  # the last one used
    reserved_sqn: int = 0  # on disk: numbers up to this one may have been used
    server_name: str = ""  # of the S-CSCF that serves, or is about to serve, this subscriber
    state: UserState = UserState.NOT_REGISTERED
    is_auth_pending: bool = False  # an S-CSCF challenged the UE and has not assigned itself yet

    @property
    def is_registrable(self) -> bool:
        """Tell whether a public identity would remain to be used once the set is registered."""
        return any(not identity.is_barred for identity in self.identities)


def canonical(impu: str) -> str:
    """Bring a public identity into the one form it is looked up by: no parameters, numbers without `+`.

    SIP URIs with a telephone number are written with and without `+` in the field; both are the same subscriber here.
    """
    scheme, colon, rest = impu.partition(":")
    if not colon:
        return impu
    address = rest.partition(";")[0].partition("?")[0]
    if scheme.lower() == "tel":
        return f"tel:{re.sub(r'[-.() +]', '', address)}"
    user, at, host = address.rpartition("@")
    if re.fullmatch(r"\+[0-9]+", user, re.ASCII):
        user = user[1:]
    return f"sip:{user}{at}{host.lower()}"
