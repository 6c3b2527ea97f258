"""hss.toml into subscriptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import ConfigError
from opencscf.labs.hss.config import HssSettings

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
HEAD = f"""
[hss]
address = "127.0.0.1"
origin_host = "hss.{DOMAIN}"
origin_realm = "{DOMAIN}"
database = "hss.db"
"""
KEYS = 'k = "fec86ba6eb707ed08905757b1bb44b8f"\nop = "dbc59adcb6f9a0ef735477b7fadf8374"\n'
RANGE = f'[[subscriber_range]]\nfirst_imsi = "001010000000098"\nfirst_msisdn = "0098"\ncount = 3\n{KEYS}'


def _load(text: str) -> HssSettings:
    return loads(HEAD + text, HssSettings, Path("/lab/hss.toml"))


def test_range_counts_on_with_its_digits() -> None:
    subscriptions = list(_load(RANGE).subscriptions())
    assert [one.imsi for one in subscriptions] == ["001010000000098", "001010000000099", "001010000000100"]
    assert [one.msisdn for one in subscriptions] == ["0098", "0099", "0100"]
    assert {one.opc.hex() for one in subscriptions} == {"1006020f0a478bf6b699f15c062e42b3"}  # TS 35.208 set 3


def test_identities_of_a_subscriber() -> None:
    (one,) = _load(f'[[subscriber]]\nimsi = "001010000000001"\nmsisdn = "15550000001"\n{KEYS}').subscriptions()
    assert one.impi == f"001010000000001@{DOMAIN}"
    assert [(identity.impu, identity.is_barred) for identity in one.identities] == [
        (f"sip:15550000001@{DOMAIN}", False),
        ("tel:+15550000001", False),
        (f"sip:001010000000001@{DOMAIN}", False),
    ]


def test_domain_of_its_own() -> None:
    settings = loads(HEAD.replace("database", 'domain = "ims.test"\ndatabase') + RANGE, HssSettings, Path("hss.toml"))
    assert next(settings.subscriptions()).impi.endswith("@ims.test")


def test_database_is_beside_the_settings() -> None:
    assert _load("").hss.database == Path("/lab/hss.db")


@pytest.mark.parametrize(
    ("imsi", "msisdn", "what"),
    [("001010000000099", "15550000001", "IMSI 001010000000099"), ("001010000000001", "0100", "MSISDN 0100")],
)
def test_subscriber_given_twice(imsi: str, msisdn: str, what: str) -> None:
    with pytest.raises(ConfigError, match=f"{what} is given twice"):
        _load(f'{RANGE}[[subscriber]]\nimsi = "{imsi}"\nmsisdn = "{msisdn}"\n{KEYS}')


def test_key_is_not_shown() -> None:
    with pytest.raises(ConfigError) as fault:
        _load('[[subscriber]]\nimsi = "001010000000001"\nmsisdn = "15550000001"\nk = "00112233"\nopc = "x"\n')
    assert "00112233" not in str(fault.value)
