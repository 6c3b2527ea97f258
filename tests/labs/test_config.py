from __future__ import annotations

from pathlib import Path

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import ConfigError
from opencscf.labs.config import DEFAULT_LAB, LabSettings, load_lab

GOOD = DEFAULT_LAB.read_text(encoding="utf-8")
KEYS = 'k = "fec86ba6eb707ed08905757b1bb44b8f"\nop = "dbc59adcb6f9a0ef735477b7fadf8374"\n'
RANGE = '[[subscriber_range]]\nfirst_imsi = "{imsi}"\nfirst_msisdn = "{msisdn}"\ncount = {count}\n' + KEYS


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loads(text, LabSettings, Path("lab.toml"))
    return [fault.removeprefix("lab.toml: ") for fault in raised.value.faults]


def test_the_labs_own_file_has_no_fault() -> None:
    lab = load_lab(DEFAULT_LAB)
    assert lab.network.domain == "ims.mnc001.mcc001.3gppnetwork.org"
    assert [one.imsi for one in lab.subscriber] == ["001010000000001", "001010000000002"]


def test_commented_out_keys_show_their_defaults() -> None:
    lines = []
    for line in GOOD.splitlines():
        is_key = line.startswith("# ") and " = " in line and line[2:].split(" = ")[0].isidentifier()
        lines.append(line[2:] if is_key and "first_" not in line and "count" not in line else line)
    # The example of a range comes last, its keys would land in the last subscriber.
    text = "\n".join(lines).split("# Many subscribers")[0]
    assert loads(text, LabSettings, DEFAULT_LAB) == load_lab(DEFAULT_LAB)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        pytest.param('mcc = "001"\n', "", "network.mcc: missing key, expected three digits", id="missing key"),
        pytest.param('mnc = "01"', "mnc = 1", "network.mnc: expected two or three digits", id="wrong type"),
        pytest.param(
            'pcscf = "', 'pcsf = "', 'network.pcsf: unknown key, did you mean "network.pcscf"?', id="unknown key"
        ),
        pytest.param("127.0.1.11", "127.0.1.10", "network: icscf: expected an address of its own", id="address twice"),
        pytest.param("127.0.1.11", "nowhere", "network.icscf: expected a specific IP address", id="no address"),
        pytest.param('amf = "8000"', "", None, id="amf has a default"),
        pytest.param(
            "001010000000002", "001020000000002", "subscriber[1].imsi: expected an IMSI of this", id="foreign IMSI"
        ),
        pytest.param("001010000000002", "001010000000001", "IMSI 001010000000001 is given twice", id="IMSI twice"),
        pytest.param("15550000002", "15550000001", "MSISDN 15550000001 is given twice", id="MSISDN twice"),
        pytest.param(
            'op = "', 'opc = "dbc59adcb6f9a0ef735477b7fadf8374"\nop = "', "expected either op or opc", id="both"
        ),
        pytest.param(
            'op = "dbc59adcb6f9a0ef735477b7fadf8374"', "", "expected either op or opc", id="neither OP nor OPc"
        ),
        pytest.param(
            '# mode = "best-effort"', 'mode = "must"', 'rx.mode: expected "best-effort" or "off"', id="Rx mode"
        ),
        pytest.param("# min_expires_s = 60", "min_expires_s = 600000", None, id="equal limits are in order"),
        pytest.param(
            "# max_expires_s = 600000", "max_expires_s = 60", "registration: expected min_expires_s", id="limits"
        ),
        pytest.param(
            "# port = 5060", 'addresses = ["127.0.1.10", "::1"]', "ue.addresses: 127.0.1.10 is a CSCF's", id="UE"
        ),
        pytest.param(
            "# port = 5060", 'addresses = ["::1", "::1"]', "ue: addresses: expected a different", id="UEs alike"
        ),
        pytest.param("# port = 5060", 'addresses = ["::1"]', "ue.addresses: expected at least 2", id="one UE"),
        pytest.param("[rx]", "[rx", "not TOML", id="no TOML"),
    ],
)
def test_a_fault_is_told_with_its_key(old: str, new: str, fault: str | None) -> None:
    text = GOOD.replace(old, new, 1) if old != 'op = "dbc59adcb6f9a0ef735477b7fadf8374"' else GOOD.replace(old, new)
    if fault is None:
        loads(text, LabSettings, Path("lab.toml"))
    else:
        assert any(fault in one for one in faults(text))


@pytest.mark.parametrize(
    ("imsi", "msisdn", "count", "fault"),
    [
        pytest.param("001010000009000", "15550009000", 1000, None, id="apart from the others"),
        pytest.param("001010000000000", "15550009000", 2, "IMSI 001010000000001 is given twice", id="IMSIs overlap"),
        pytest.param("001010000009000", "15549999999", 3, "MSISDN 15550000001 is given twice", id="MSISDNs overlap"),
        pytest.param("001019999999999", "15550009000", 2, None, id="the last digit carries over"),
        pytest.param("001010000009000", "999", 2, "first_msisdn: 2 numbers from 999 do not fit", id="too few digits"),
    ],
)
def test_ranges(imsi: str, msisdn: str, count: int, fault: str | None) -> None:
    text = GOOD + "\n" + RANGE.format(imsi=imsi, msisdn=msisdn, count=count)
    if fault is None:
        loads(text, LabSettings, Path("lab.toml"))
    else:
        assert any(fault in one for one in faults(text))


def test_no_fault_shows_a_key() -> None:
    (fault,) = faults(GOOD.replace("fec86ba6eb707ed08905757b1bb44b8f", "fec86ba6eb707ed0890575", 1))
    assert "fec86" not in fault
