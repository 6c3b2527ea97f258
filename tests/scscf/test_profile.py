"""User profiles (TS 29.228 Annexes B, C and E)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.ims.identity import Impu
from opencscf.common.ims.public_identity import impu_of
from opencscf.common.sip.uri import parse_uri
from opencscf.scscf.profile import MAX_USER_DATA_BYTES, PublicIdentity, UserData, UserProfile

PROFILES = Path(__file__).parent / "profiles"


def identity(uri: str, impu: str | None = None, *, barred: bool = False) -> PublicIdentity:
    return PublicIdentity(uri, Impu(impu or uri), barred)


@pytest.mark.parametrize(
    ("name", "identities"),
    [
        pytest.param(
            "lab",
            [
                identity("sip:001010000000001@ims.test", barred=True),
                identity("sip:15550000001@ims.test"),
                identity("tel:+1-555-000-0001", "tel:+15550000001"),
            ],
            id="CX-09 barred temporary identity, SIP and tel URI",
        ),
        pytest.param(
            "one-line-with-empty-extensions",
            [identity("sip:001010000000001@ims.test", barred=True), identity("sip:15550000001@ims.test")],
            id="CX-09 empty Extension, SPT without condition",
        ),
        pytest.param(
            "comments-wildcards-two-service-profiles",
            [
                identity("sip:+15550000001@ims.test;user=phone", "sip:+15550000001@ims.test"),
                identity("tel:+15550000001"),
            ],
            id="CX-08 CX-09 comments, namespace, two profiles, wildcards and unreadable identities left out",
        ),
    ],
)
def test_parse(name: str, identities: list[PublicIdentity]) -> None:
    profile = UserData.parse((PROFILES / f"{name}.xml").read_bytes()).profile
    assert profile == UserProfile(tuple(identities))
    assert UserProfile.from_json(profile.to_json()) == profile


def test_default_identity_is_the_first_that_is_not_barred() -> None:
    """SR-10."""
    profile = UserData.parse((PROFILES / "lab.xml").read_bytes()).profile
    assert [found.uri for found in profile.associated] == ["sip:15550000001@ims.test", "tel:+1-555-000-0001"]
    assert profile.find("tel:+15550000001") is profile.identities[2]
    assert profile.find("tel:+15550000002") is None


def with_identities(count: int) -> bytes:
    one = "<PublicIdentity><Identity>sip:{}@ims.test</Identity></PublicIdentity>"
    many = "".join(one.format(number) for number in range(count))
    return f"<IMSSubscription><ServiceProfile>{many}</ServiceProfile></IMSSubscription>".encode()


BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>
<IMSSubscription><ServiceProfile><PublicIdentity><Identity>&c;</Identity></PublicIdentity></ServiceProfile></IMSSubscription>"""


@pytest.mark.parametrize(
    ("user_data", "reason"),
    [
        pytest.param(BOMB, "user profile with a DOCTYPE", id="entities"),
        pytest.param(BOMB.decode().encode("utf-16"), "user profile is not UTF-8", id="entities in another encoding"),
        pytest.param(b"<a>" + b" " * MAX_USER_DATA_BYTES, "user profile too long", id="too long"),
        pytest.param(b"", "user profile is not XML: ", id="empty"),
        pytest.param(b"\0", "user profile is not XML: ", id="NUL"),
        pytest.param(b"<IMSSubscription/>", "user profile without a usable PublicIdentity", id="nobody"),
        pytest.param(with_identities(101), "user profile with too many identities", id="too many"),
    ],
)
def test_unusable(user_data: bytes, reason: str) -> None:
    with pytest.raises(ParseError) as fault:
        UserData.parse(user_data)
    assert fault.value.reason.startswith(reason)  # the rest of it is expat's


@given(st.one_of(st.binary(), st.text().map(lambda text: f"<a>{text}</a>".encode(errors="replace"))))
def test_any_bytes(user_data: bytes) -> None:
    with pytest.raises(ParseError):
        UserData.parse(user_data)


def test_deep_nesting_is_survived() -> None:
    with pytest.raises(ParseError):
        UserData.parse(b"<a>" * 50_000 + b"</a>" * 30_000)
    with pytest.raises(ParseError):
        UserData.parse(b"<a>" * 30_000 + b"</a>" * 30_000)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:15550000001@ims.test",
        "sip:Alice.B+c_d-e@ims.test",
        "sip:alice@IMS.test",
        "SIP:alice@ims.test",
        "sips:alice@ims.test",
        "sip:%61lice@ims.test",
        "sip:alice@ims.test:5060",
        "sip:alice@ims.test;user=phone",
        "tel:+15550000001",
        "tel:+1-555",
        "TEL:+1555",
        "tel:1555;phone-context=ims.test",
    ],
)
def test_known_by_canonical_text(uri: str) -> None:
    """CX-09: whether or not the text has to be taken apart for it."""
    assert PublicIdentity.of(uri, is_barred=False) == PublicIdentity(uri, impu_of(parse_uri(uri)))
