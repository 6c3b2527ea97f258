"""Public identities as URIs (TS 23.003 13.4, TS 24.229 5.3.2.1)."""

from __future__ import annotations

import pytest

from opencscf.common.ims.public_identity import forms_of, impu_of
from opencscf.common.sip.uri import parse_uri


@pytest.mark.parametrize(
    ("uri", "impu"),
    [
        ("sip:Alice@IMS.Test:5060;user=phone?x=y", "sip:Alice@ims.test"),
        ("SIPS:%61lice@ims.test", "sip:alice@ims.test"),
        ("sip:ims.test", "sip:ims.test"),
        ("sip:a@[2001:DB8:0::1]", "sip:a@[2001:db8::1]"),
        ("tel:+1-(555).0001;isub=1", "tel:+15550001"),
        ("tel:5550001;phone-context=IMS.test", "tel:5550001;phone-context=ims.test"),
    ],
)
def test_canonical(uri: str, impu: str) -> None:
    assert impu_of(parse_uri(uri)) == impu
    assert impu_of(parse_uri(impu)) == impu


@pytest.mark.parametrize(
    ("uri", "forms"),
    [
        pytest.param("sip:alice@ims.test", ["sip:alice@ims.test"], id="IC-09 no number"),
        pytest.param("sip:+1a@ims.test", ["sip:+1a@ims.test"], id="IC-09 no number either"),
        pytest.param("tel:+1555", ["tel:+1555", "sip:1555@ims.test", "tel:1555"], id="IC-09 global number"),
        pytest.param(
            "sip:+1555@ims.test",
            ["sip:+1555@ims.test", "tel:+1555", "sip:1555@ims.test", "tel:1555"],
            id="IC-09 global number at home",
        ),
        pytest.param(
            "sip:+1555@IMS.test;user=phone",
            ["tel:+1555", "sip:+1555@ims.test", "sip:1555@ims.test", "tel:1555"],
            id="IC-09 SIP URI that says that it is a number",
        ),
        pytest.param("tel:*21#", ["tel:*21#"], id="IC-09 service code"),
        pytest.param("tel:1555", ["tel:1555", "sip:1555@ims.test", "tel:+1555"], id="IC-09 bare number"),
    ],
)
def test_forms(uri: str, forms: list[str]) -> None:
    assert list(forms_of(uri, "ims.test")) == forms
