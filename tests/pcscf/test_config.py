"""The P-CSCF's settings."""

from pathlib import Path

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import ConfigError
from opencscf.pcscf.config import PcscfConfig


def config(text: str) -> PcscfConfig:
    return loads(text, PcscfConfig, Path("pcscf.toml"))


@pytest.mark.parametrize(
    ("old", "new", "asks"),
    [
        pytest.param("", "", True, id="best effort is the default"),
        pytest.param("[rx]", '[rx]\nmode = "off"', False, id="switched off"),
        pytest.param("[rx]", "[health]\nport = 0\n[unused]", None, id="unknown table"),
    ],
)
def test_rx_mode(settings: str, old: str, new: str, asks: bool | None) -> None:  # noqa: FBT001 - a column of the table
    text = settings.replace(old, new) if old else settings
    if asks is None:
        with pytest.raises(ConfigError, match="unused"):
            config(text)
    else:
        assert config(text).authorises_media is asks


def test_without_rx_nobody_is_asked(settings: str) -> None:
    assert not config(settings.partition("[rx]")[0]).authorises_media


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        config('[sip]\nlisten = [{ address = "0.0.0.0" }]\n[pcscf]\nicscf = "icscf"\n[rx]\nmode = "hard"\n')
    keys = [fault.split(": ")[1] for fault in caught.value.faults]
    assert {"sip.listen[0].address", "pcscf.visited_network", "pcscf.icscf", "rx.mode", "rx.peers"} <= set(keys)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        pytest.param('{ address = "192.0.2.1" }', "192.0.2.1:5060;lr", id="PR-01 IPv4"),
        pytest.param('{ address = "2001:db8::1", port = 5070 }', "[2001:db8::1]:5070;lr", id="PR-01 IPv6"),
        pytest.param(
            '{ address = "192.0.2.1", transports = ["tcp"] }',
            "192.0.2.1:5060;transport=tcp;lr",
            id="PR-01 TCP only",
        ),
        pytest.param('{ address = "192.0.2.1" }, { address = "192.0.2.2" }', "192.0.2.1:5060;lr", id="PR-01 the first"),
        pytest.param(
            '{ address = "192.0.2.1", port = 80, transports = ["ws"] }, { address = "192.0.2.2" }',
            "192.0.2.2:5060;lr",
            id="PR-01 the first that the core can connect to",
        ),
    ],
)
def test_path_address(listen: str, address: str) -> None:
    text = f'[sip]\nlisten = [{listen}]\n[pcscf]\nvisited_network = "a.test"\nicscf = "sip:icscf.a.test"\n'
    assert config(text).path_address == address
