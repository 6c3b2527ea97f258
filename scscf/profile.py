"""The user profile that the HSS sends in User-Data: XML in, identities out (TS 29.228 Annexes B, C and E).

Elements that are not named here are ignored. Not covered: initial filter criteria, wildcarded identities, alias groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from xml.etree import ElementTree as ET

from opencscf.common.errors import ParseError
from opencscf.common.ims.public_identity import impu_of_text

if TYPE_CHECKING:
    from opencscf.common.ims.identity import Impu

MAX_USER_DATA_BYTES = 262_144
MAX_IDENTITIES = 100  # of one implicit registration set

_PLAIN_KINDS = frozenset({"", "0", "1"})  # IdentityType: public user identity, distinct PSI; the others are wildcards

JsonIdentity: TypeAlias = "list[str | bool]"


class PublicIdentity(NamedTuple):
    """One identity of an implicit registration set: the URI as it is provisioned, and the text it is known by."""

    uri: str
    impu: Impu
    is_barred: bool = False

    @classmethod
    def of(cls, uri: str, *, is_barred: bool) -> PublicIdentity:
        """Know an identity by its URI; both are one string where they are equal, as they are for most of the users."""
        impu = impu_of_text(uri)
        return cls(impu if impu == uri else uri, impu, is_barred)


class UserProfile(NamedTuple):
    """The implicit registration set in the order of the HSS; an operation on one identity is for all (6.5)."""

    identities: tuple[PublicIdentity, ...]

    @property
    def associated(self) -> tuple[PublicIdentity, ...]:
        """The identities that are not barred; the first one is the default public user identity."""
        return tuple([identity for identity in self.identities if not identity.is_barred])

    def find(self, impu: str) -> PublicIdentity | None:
        """The identity of this name."""
        for identity in self.identities:
            if identity.impu == impu:
                return identity
        return None

    def own_text(self, impu: Impu) -> Impu:
        """The profile's own string for an identity, so that it is kept once."""
        identity = self.find(impu)
        return impu if identity is None else identity.impu

    def to_json(self) -> list[JsonIdentity]:
        """Write the profile for the store."""
        return [[identity.uri, identity.is_barred] for identity in self.identities]

    @classmethod
    def from_json(cls, value: list[JsonIdentity]) -> UserProfile:
        """Read what `to_json` wrote."""
        return cls(tuple([PublicIdentity.of(str(uri), is_barred=bool(barred)) for uri, barred in value]))


class UserData(NamedTuple):
    """User-Data as the HSS sends it: the profile, which is kept, and whose it is, which is only looked at."""

    profile: UserProfile
    private_identity: str = ""  # "" if the HSS does not say

    @classmethod
    def parse(cls, user_data: bytes) -> UserData:
        """Read User-Data; ParseError if there is no identity in it that can be used."""
        root = _parse_xml(user_data)
        identities: dict[Impu, PublicIdentity] = {}
        for service_profile in root.findall("ServiceProfile"):
            for element in service_profile.findall("PublicIdentity"):
                identity = _identity(element)
                if identity is not None:
                    identities.setdefault(identity.impu, identity)
        if not identities:
            raise ParseError("user profile without a usable PublicIdentity")
        if len(identities) > MAX_IDENTITIES:
            raise ParseError("user profile with too many identities")
        return cls(UserProfile(tuple(identities.values())), _text(root, "PrivateID"))

    def is_of(self, impi: str) -> bool:
        """Whether it is this user's. Only what stands before @ counts: HSSs write the realm as they derive it."""
        return not self.private_identity or self.private_identity.partition("@")[0] == impi.partition("@")[0]


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
        root = ET.fromstring(text)  # noqa: S314 - without DOCTYPE there are no entities to expand
    except (ET.ParseError, ValueError) as fault:
        raise ParseError(f"user profile is not XML: {fault}") from None
    if "xmlns" in text:  # some HSSs declare a namespace, which the schema does not have
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    return root


def _identity(element: ET.Element) -> PublicIdentity | None:
    """Read a PublicIdentity; None for a wildcard, and for a URI that cannot be read: the others are still good."""
    for extension in element.findall("Extension"):
        if _text(extension, "IdentityType") not in _PLAIN_KINDS:
            return None
    is_barred = _text(element, "BarringIndication").lower() in {"1", "true"}
    try:
        return PublicIdentity.of(_text(element, "Identity"), is_barred=is_barred)
    except ParseError:
        return None


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(name, "").strip()
