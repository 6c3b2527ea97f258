"""Identities derived from an IMSI (TS 23.003 13)."""

from __future__ import annotations

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.ims.identity import (
    impi_of_imsi,
    ims_domain,
    ims_domain_of_imsi,
    sip_impu_of_msisdn,
    tel_impu_of_msisdn,
    temporary_impu,
)

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"


@pytest.mark.parametrize(
    ("mcc", "mnc", "domain"),
    [
        pytest.param("001", "01", DOMAIN, id="IC-11 23.003-13.2 two-digit MNC is padded"),
        pytest.param("234", "015", "ims.mnc015.mcc234.3gppnetwork.org", id="IC-11 23.003-13.2 three digits stay"),
    ],
)
def test_domain(mcc: str, mnc: str, domain: str) -> None:
    assert ims_domain(mcc, mnc) == domain


@pytest.mark.parametrize(
    ("digits", "domain"),
    [
        pytest.param(2, "ims.mnc015.mcc234.3gppnetwork.org", id="IC-11 23.003-13.2 MNC of two digits"),
        pytest.param(3, "ims.mnc150.mcc234.3gppnetwork.org", id="IC-11 23.003-13.2 MNC of three digits"),
    ],
)
def test_domain_of_imsi(digits: int, domain: str) -> None:
    assert ims_domain_of_imsi("234150999999999", mnc_digits=digits) == domain


def test_identities_of_imsi() -> None:
    """IC-11"""
    assert impi_of_imsi("001010000000001", DOMAIN) == f"001010000000001@{DOMAIN}"
    assert temporary_impu("001010000000001", DOMAIN) == f"sip:001010000000001@{DOMAIN}"


@pytest.mark.parametrize("msisdn", ["15550000001", "+15550000001"])
def test_identities_of_msisdn(msisdn: str) -> None:
    assert sip_impu_of_msisdn(msisdn, DOMAIN) == f"sip:15550000001@{DOMAIN}"
    assert tel_impu_of_msisdn(msisdn) == "tel:+15550000001"


@pytest.mark.parametrize(
    "imsi", ["", "12345", "0010100000000012", "00101000000000a", "\u0660\u0660\u0660\u0660\u0660\u0660"]
)
def test_what_is_not_an_imsi(imsi: str) -> None:
    with pytest.raises(ParseError, match="not an IMSI"):
        impi_of_imsi(imsi, DOMAIN)


@pytest.mark.parametrize(("mcc", "mnc"), [("01", "01"), ("001", "1"), ("001", "0001"), ("abc", "01"), ("001", "01\n")])
def test_what_is_not_a_network(mcc: str, mnc: str) -> None:
    with pytest.raises(ParseError, match="network code"):
        ims_domain(mcc, mnc)
