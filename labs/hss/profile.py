"""The user profile that an S-CSCF downloads (TS 29.228 Annex B and E). Not covered: initial filter criteria."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from opencscf.labs.hss.subscription import PublicIdentity, Subscription


def user_profile(subscription: Subscription) -> bytes:
    """Write the profile: the first identity that is not barred is the default public user identity."""
    identities = "".join(_identity(identity) for identity in subscription.identities)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<IMSSubscription><PrivateID>{escape(subscription.impi)}</PrivateID>"
        f"<ServiceProfile>{identities}</ServiceProfile></IMSSubscription>"
    ).encode()


def _identity(identity: PublicIdentity) -> str:
    barring = f"<BarringIndication>{int(identity.is_barred)}</BarringIndication>"
    return f"<PublicIdentity>{barring}<Identity>{escape(identity.impu)}</Identity></PublicIdentity>"
