"""icscf.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import ConfigError
from opencscf.icscf.config import IcscfConfig, IcscfTable, ScscfCandidate

TEXT = """
[sip]
listen = [{ address = "127.0.1.11" }]
[cx]
origin_host = "icscf.ims.test"
origin_realm = "ims.test"
destination_realm = "ims.test"
peers = [{ host = "hss.ims.test", address = "127.0.1.14" }]
[icscf]
domain = "ims.test"
[[icscf.scscf]]
name = "sip:scscf.ims.test:5060"
capabilities = [1, 2]
"""


def test_read() -> None:
    config = loads(TEXT, IcscfConfig, Path("icscf.toml"))
    assert config.icscf == IcscfTable("ims.test", (ScscfCandidate("sip:scscf.ims.test:5060", (1, 2)),))


def test_faults() -> None:
    text = TEXT.replace("[[icscf.scscf]]", "[[icscf.cscf]]")
    with pytest.raises(ConfigError) as fault:
        loads(text, IcscfConfig, Path("icscf.toml"))
    assert fault.value.faults == (
        'icscf.toml: icscf.cscf: unknown key, did you mean "icscf.scscf"?',
        "icscf.toml: icscf.scscf: missing key, expected an array of tables",
    )
