from __future__ import annotations

import dataclasses
import stat
from typing import TYPE_CHECKING, Any

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import StartupError
from opencscf.icscf.config import IcscfConfig
from opencscf.labs import render
from opencscf.labs.config import DEFAULT_LAB, LabSettings, Network, RxMode, RxSettings, SubscriberRange, load_lab
from opencscf.labs.hss.config import HssSettings
from opencscf.labs.pcrf.config import PcrfSettings
from opencscf.pcscf.config import PcscfConfig
from opencscf.scscf.config import ScscfConfig

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS: dict[str, Any] = {
    "hss": HssSettings,
    "pcrf": PcrfSettings,
    "scscf": ScscfConfig,
    "icscf": IcscfConfig,
    "pcscf": PcscfConfig,
}

IPV6 = Network("001", "01", pcscf="::1", icscf="2001:db8::11", scscf="::12", hss="::14", pcrf="::15")


@pytest.fixture
def lab() -> LabSettings:
    return load_lab(DEFAULT_LAB)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("network", [Network("001", "01"), IPV6], ids=["IPv4", "IPv6"])
def test_each_node_accepts_what_is_rendered_for_it(
    lab: LabSettings, tmp_path: Path, name: str, network: Network
) -> None:
    text = render.render(dataclasses.replace(lab, network=network))[name]
    settings: Any = loads(text, SCHEMAS[name], tmp_path / f"{name}.toml")  # Any: one of five schemas
    assert settings.health.port == 8080


def test_every_scalar_key_of_the_nodes_tables_is_explained(lab: LabSettings) -> None:
    for name, text in render.render(lab).items():
        lines = text.splitlines()
        for number, line in enumerate(lines):
            key = line.split(" = ")[0]
            if " = " not in line or key.startswith(("#", '"')) or key in {"address", "port", "transports", "imsi"}:
                continue
            if key not in {"first_imsi", "first_msisdn"}:
                assert "  # " in line or lines[number - 1].startswith("# "), f"{name}: {line}"


def test_settings_reach_their_nodes(lab: LabSettings, tmp_path: Path) -> None:
    lab = dataclasses.replace(lab, rx=RxSettings(RxMode.OFF))
    texts = render.render(lab)
    pcscf = loads(texts["pcscf"], PcscfConfig, tmp_path / "pcscf.toml")
    scscf = loads(texts["scscf"], ScscfConfig, tmp_path / "scscf.toml")
    icscf = loads(texts["icscf"], IcscfConfig, tmp_path / "icscf.toml")
    assert not pcscf.authorises_media
    assert pcscf.log.trace == render.trace_path(tmp_path, "pcscf")
    assert icscf.icscf.scscf[0].name == scscf.scscf.server_name
    assert scscf.cx.peers[0].address == lab.network.hss
    assert scscf.sip.hosts[lab.network.domain] == (lab.network.icscf,)


def test_subscribers_and_ranges_reach_the_hss(lab: LabSettings, tmp_path: Path) -> None:
    many = SubscriberRange("001010000010000", "15550010000", 1000, k="00" * 16, opc="11" * 16)
    lab = dataclasses.replace(lab, subscriber_range=(many,))
    hss = loads(render.render(lab)["hss"], HssSettings, tmp_path / "hss.toml")
    assert hss.subscriber == lab.subscriber
    assert hss.subscriber_range == lab.subscriber_range
    assert hss.domain == lab.network.domain


def test_files_with_keys_are_their_owners_alone(lab: LabSettings, tmp_path: Path) -> None:
    paths = render.write(lab, tmp_path / "lab")
    assert stat.S_IMODE((tmp_path / "lab").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths.values()} == {0o600}


def test_unwritable_directory_is_one_line(lab: LabSettings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"^lab: cannot write .*file/lab: Not a directory$"):
        render.write(lab, tmp_path / "file" / "lab")
