"""What a REGISTER says about the user, as the CSCFs read it (TS 24.229 5.3.1.2, 5.4.1.2.1, 7.2A.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from opencscf.common.errors import ParseError
from opencscf.common.ims.identity import Impi, Impu
from opencscf.common.ims.pheaders import visited_networks
from opencscf.common.ims.public_identity import impu_of
from opencscf.common.sip.headers import Credentials
from opencscf.common.sip.uri import SipUri

if TYPE_CHECKING:
    from opencscf.common.sip.headers import NameAddr
    from opencscf.common.sip.message import Request
    from opencscf.common.sip.uri import TelUri


_SCHEME = re.compile(r"(\S++)\s++\S")


class Register(NamedTuple):
    """A REGISTER with the identities it is about; `impi` is the UE's claim until it is authenticated."""

    request: Request
    impi: Impi
    impu: Impu
    credentials: Credentials | None

    @classmethod
    def parse(cls, request: Request) -> Register:
        """Read the identities: the public one from To, the private one from Authorization or derived from To."""
        credentials = digest_credentials(request)
        try:
            address = request.to.parsed_uri
        except ParseError as fault:
            raise ParseError(fault.reason) from None  # 416 is about Request-URIs (RFC 4475 3.3.4)
        username = credentials.get("username") if credentials is not None else None
        if username and not username.isprintable():  # it goes into Diameter, the store and the log
            raise ParseError("the private identity is not printable text")
        return cls(request, Impi(username) if username else _derived_impi(address), impu_of(address), credentials)

    def credential(self, name: str) -> str:
        """A parameter of the credentials, "" if there is none: for these parameters empty and absent mean the same."""
        return (self.credentials.get(name) or "") if self.credentials is not None else ""

    def requested_expires_s(self, contact: NameAddr) -> int | None:
        """How long a contact asks to be registered (RFC 3261 10.2.1.1), None if it leaves that to the registrar."""
        expires_s = contact.expires
        return expires_s if expires_s is not None else self.request.expires

    @property
    def is_deregistration(self) -> bool:
        """Whether it only takes contacts away (RFC 3261 10.2.2)."""
        contacts = self.request.contacts
        if not contacts:
            return self.request.is_contact_star
        return all(self.requested_expires_s(contact) == 0 for contact in contacts)

    @property
    def is_protected(self) -> bool:
        """Whether the P-CSCF received it over the security association that AKA set up."""
        return self.credential("integrity-protected").lower() == "yes"

    @property
    def visited_network(self) -> str:
        """The name of the visited network without quotes (RFC 7315 4.3), "" if it is not given."""
        networks = visited_networks(self.request)
        if not networks:
            return ""
        if not networks[0].isprintable():
            raise ParseError("the visited network is not printable text")
        return networks[0]


def digest_credentials(request: Request) -> Credentials | None:
    """Read the credentials that count, whatever stands beside them."""
    for line in request.get_all("Authorization"):
        match = _SCHEME.match(line)
        if match is None:
            raise ParseError("malformed Authorization")
        if match[1].lower() == "digest":  # others need not be written as parameters: Bearer (RFC 8898) is not
            return Credentials.parse(line)
    return None


def _derived_impi(address: SipUri | TelUri) -> Impi:
    """A UE without credentials is known by its public identity without scheme (5.4.1.2.1)."""
    if not isinstance(address, SipUri) or address.user is None:
        raise ParseError("neither Authorization nor To name a private identity")
    return Impi(address.userhost)
