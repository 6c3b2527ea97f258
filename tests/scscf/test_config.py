"""scscf.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import ConfigError
from opencscf.scscf.config import RegistrationTable, ScscfConfig, ScscfTable

TEXT = """
[sip]
listen = [{ address = "127.0.1.12" }]
[store]
path = "scscf.db"
[cx]
origin_host = "scscf.ims.test"
origin_realm = "ims.test"
destination_realm = "ims.test"
peers = [{ host = "hss.ims.test", address = "127.0.1.14" }]
[scscf]
domain = "ims.test"
server_name = "sip:scscf.ims.test:5060"
icscf = "sip:icscf.ims.test:5060"
[registration]
min_expires_s = 120
"""


def test_read() -> None:
    config = loads(TEXT, ScscfConfig, Path("lab/scscf.toml"))
    assert config.scscf == ScscfTable("ims.test", "sip:scscf.ims.test:5060", "sip:icscf.ims.test:5060")
    assert config.registration == RegistrationTable(min_expires_s=120)
    assert config.store.path == Path("lab/scscf.db")


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        (
            'min_expires_s = "1h"',
            ('scscf.toml: registration.min_expires_s: expected a number from 1 to 600000, got "1h"',),
        ),
        (
            "min_expire_s = 60",
            ('scscf.toml: registration.min_expire_s: unknown key, did you mean "registration.min_expires_s"?',),
        ),
        (
            "max_expires_s = 60",
            ("scscf.toml: registration: expected min_expires_s <= default_expires_s <= max_expires_s",),
        ),
    ],
)
def test_faults(line: str, faults: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as fault:
        loads(TEXT.replace("min_expires_s = 120", line), ScscfConfig, Path("scscf.toml"))
    assert fault.value.faults == faults
