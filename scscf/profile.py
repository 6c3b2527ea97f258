"""The user profile that the HSS sends in User-Data: XML in, identities out (TS 29.228 Annexes B, C and E).

Elements that are not named here are ignored. Not covered: initial filter criteria, wildcarded identities, alias groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from xml.etree import ElementTree as ET

from opencscf.common.errors import ParseError
from opencscf.common.ims.public_identity import impu_of
from opencscf.common.sip.uri import parse_uri

if TYPE_CHECKING:
    from opencscf.common.ims.identity import Impu

MAX_USER_DATA_BYTES = 262_144
MAX_IDENTITIES = 100  # of one implicit registration set

_PLAIN_KINDS = frozenset({"", "0", "1"})  # IdentityType: public user identity, distinct PSI; the others are wildcards

JsonIdentity: TypeAlias = "list[str | bool]"


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """One identity of an implicit registration set: the URI as it is provisioned, and the text it is known by."""

    uri: str
    impu: Impu
    is_barred: bool = False


@dataclass(frozen=True, slots=True)
class UserProfile:
    """The implicit registration set in the order of the HSS; an operation on one identity is for all (6.5)."""

    identities: tuple[PublicIdentity, ...]
    private_identity: str = field(default="", compare=False)  # whose profile it is, if the HSS says so; not saved

    @classmethod
    def parse(cls, user_data: bytes) -> UserProfile:
        """Read User-Data; ParseError if there is no identity in it that can be used."""
        root = _parse_xml(user_data)
        profiles = _children(root, "ServiceProfile")
        found = [_identity(element) for profile in profiles for element in _children(profile, "PublicIdentity")]
        identities = {identity.impu: identity for identity in reversed(found) if identity is not None}
        if not identities:
            raise ParseError("user profile without a usable PublicIdentity")
        if len(identities) > MAX_IDENTITIES:
            raise ParseError("user profile with too many identities")
        return cls(tuple(reversed(identities.values())), _text(root, "PrivateID"))

    def is_of(self, impi: str) -> bool:
        """Whether it is this user's. Only what stands before @ counts: HSSs write the realm as they derive it."""
        return not self.private_identity or self.private_identity.partition("@")[0] == impi.partition("@")[0]

    @property
    def associated(self) -> tuple[PublicIdentity, ...]:
        """The identities that are not barred; the first one is the default public user identity."""
        return tuple(identity for identity in self.identities if not identity.is_barred)

    def find(self, impu: str) -> PublicIdentity | None:
        """The identity of this name."""
        return next((identity for identity in self.identities if identity.impu == impu), None)

    def to_json(self) -> list[JsonIdentity]:
        """Write the profile for the store."""
        return [[identity.uri, identity.is_barred] for identity in self.identities]

    @classmethod
    def from_json(cls, value: list[JsonIdentity]) -> UserProfile:
        """Read what `to_json` wrote."""
        return cls(tuple(PublicIdentity(str(uri), impu_of(parse_uri(str(uri))), bool(barred)) for uri, barred in value))


def _parse_xml(user_data: bytes) -> ET.Element:
    if len(user_data) > MAX_USER_DATA_BYTES:
        raise ParseError("user profile too long")
    try:
        text = user_data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ParseError("user profile is not UTF-8") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ParseError("user profile with a DOCTYPE")
    try:
        return ET.fromstring(text)  # noqa: S314 - without DOCTYPE there are no entities to expand
    except (ET.ParseError, ValueError) as fault:
        raise ParseError(f"user profile is not XML: {fault}") from None


def _identity(element: ET.Element) -> PublicIdentity | None:
    """Read a PublicIdentity; None for a wildcard, and for a URI that cannot be read: the others are still good."""
    if any(_text(extension, "IdentityType") not in _PLAIN_KINDS for extension in _children(element, "Extension")):
        return None
    uri = _text(element, "Identity")
    try:
        impu = impu_of(parse_uri(uri))
    except ParseError:
        return None
    return PublicIdentity(uri, impu, _text(element, "BarringIndication").lower() in {"1", "true"})


def _children(element: ET.Element, name: str) -> list[ET.Element]:
    """The children of a name, whatever their namespace: some HSSs declare one, which the schema does not have."""
    qualified = f"}}{name}"
    return [child for child in element if child.tag == name or child.tag.endswith(qualified)]


def _text(element: ET.Element, name: str) -> str:
    found = _children(element, name)
    return (found[0].text or "").strip() if found else ""
