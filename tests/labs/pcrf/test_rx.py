"""Rx as the PCRF answers it (TS 29.214 4.4, 5.3, 5.6)."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import ConfigError
from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Avp, Received, ResultCode, make
from opencscf.labs.diameter_peer import LocalNode, result_of
from opencscf.labs.pcrf import rx
from opencscf.labs.pcrf.config import PcrfSettings
from opencscf.labs.pcrf.rx import RxApplication

if TYPE_CHECKING:
    from collections.abc import Callable

REALM = "ims.mnc001.mcc001.3gppnetwork.org"
SETTINGS = f"""
[pcrf]
address = "127.0.0.1"
origin_host = "pcrf.{REALM}"
origin_realm = "{REALM}"
max_sessions = 2
[[refuse]]
ue_address = "127.0.2.9"
[[refuse]]
ue_address = "2001:db8::9"
result = 5012
is_experimental = false
"""
UP = "permit in 17 from 10.45.0.2 50000 to 203.0.113.9 40000"
DOWN = "permit out 17 from 203.0.113.9 40000 to 10.45.0.2 50000"


class Reports(list[tuple[str, str, dict[str, object]]]):
    def event(self, level: str, event: str, **fields: object) -> None:
        self.append((level, event, fields))


class Pcrf:
    """A PCRF in memory, asked by hand."""

    def __init__(self) -> None:
        settings = loads(SETTINGS, PcrfSettings, Path("pcrf.toml"))
        self.reports = Reports()
        self.application = RxApplication(settings, self.reports)
        self.node = LocalNode(
            self.application,
            origin_host=settings.pcrf.origin_host,
            origin_realm=settings.pcrf.origin_realm,
            address=settings.pcrf.address,
            report=self.reports,
        )

    def ask(self, command: int, avps: list[Avp], session_id: str = "pcscf;1;2") -> Received:
        header = codec.request_header(command, 1, 2, codec.RX_APPLICATION)
        common = [
            make(codec.SESSION_ID, session_id),
            make(codec.AUTH_APPLICATION_ID, codec.RX_APPLICATION),
            make(codec.ORIGIN_HOST, f"pcscf.{REALM}".encode()),
            make(codec.ORIGIN_REALM, REALM.encode()),
            make(codec.DESTINATION_REALM, REALM.encode()),
        ]
        assert self.application.commit()
        return codec.decode(self.node.answer(codec.decode(codec.encode(header, [*common, *avps]))))


@pytest.fixture
def pcrf() -> Pcrf:
    return Pcrf()


def _address(text: str = "10.45.0.2") -> Avp:
    address = ip_address(text)
    if address.version == 4:
        return make(rx.FRAMED_IP_ADDRESS, address.packed)
    return make(rx.FRAMED_IPV6_PREFIX, b"\x00\x80" + address.packed)


def _flow(number: int = 1, *descriptions: str) -> Avp:
    members = [make(rx.FLOW_NUMBER, number), *(make(rx.FLOW_DESCRIPTION, text.encode()) for text in descriptions)]
    return make(rx.MEDIA_SUB_COMPONENT, members)


def _component(number: int = 1, flows: tuple[Avp, ...] = (), status: int = 2) -> Avp:
    members = [
        make(rx.MEDIA_COMPONENT_NUMBER, number),
        *(flows or (_flow(1, UP, DOWN),)),
        make(rx.MEDIA_TYPE, 0),
        make(rx.MAX_REQUESTED_BANDWIDTH_UL, 49000),
        make(rx.MAX_REQUESTED_BANDWIDTH_DL, 49000),
        make(rx.FLOW_STATUS, status),
    ]
    return make(rx.MEDIA_COMPONENT_DESCRIPTION, members)


def _subscription() -> Avp:
    data = f"sip:001010000000001@{REALM}"
    return make(rx.SUBSCRIPTION_ID, [make(rx.SUBSCRIPTION_ID_TYPE, 2), make(rx.SUBSCRIPTION_ID_DATA, data)])


def _aar(*components: Avp, address: str = "10.45.0.2") -> list[Avp]:
    return [_address(address), _subscription(), *(components or (_component(),))]


STR = [make(rx.TERMINATION_CAUSE, 1)]


def test_media_is_authorised(pcrf: Pcrf) -> None:
    """29.214-4.4.1"""
    answer = pcrf.ask(rx.AA, _aar())
    assert result_of(answer) == codec.SUCCESS
    assert answer.avps[0].code == codec.SESSION_ID.code
    assert answer.number(codec.AUTH_APPLICATION_ID) == codec.RX_APPLICATION
    session = pcrf.application.sessions["pcscf;1;2"]
    assert str(session.ue_address) == "10.45.0.2"
    assert session.components == {1: (UP, DOWN)}


def test_media_is_modified(pcrf: Pcrf) -> None:
    """29.214-4.4.2: a component is added, another one removed."""
    pcrf.ask(rx.AA, _aar())
    answer = pcrf.ask(rx.AA, _aar(_component(1, status=4), _component(2, (_flow(1, UP),))))
    assert result_of(answer) == codec.SUCCESS
    assert pcrf.application.sessions["pcscf;1;2"].components == {2: (UP,)}


def test_update_needs_no_address(pcrf: Pcrf) -> None:
    pcrf.ask(rx.AA, _aar())
    assert result_of(pcrf.ask(rx.AA, [_component(2)])) == codec.SUCCESS


def test_session_ends(pcrf: Pcrf) -> None:
    """29.214-4.4.4"""
    pcrf.ask(rx.AA, _aar())
    assert result_of(pcrf.ask(rx.SESSION_TERMINATION, STR)) == codec.SUCCESS
    assert not pcrf.application.sessions
    assert result_of(pcrf.ask(rx.SESSION_TERMINATION, STR)) == codec.UNKNOWN_SESSION_ID


@pytest.mark.parametrize(
    ("address", "result"),
    [
        pytest.param("127.0.2.9", ResultCode(5065, codec.VENDOR_3GPP), id="29.214-5.5 no IP-CAN session"),
        pytest.param("2001:db8::9", codec.UNABLE_TO_COMPLY, id="a base result"),
    ],
)
def test_refused_addresses(pcrf: Pcrf, address: str, result: ResultCode) -> None:
    assert result_of(pcrf.ask(rx.AA, _aar(address=address))) == result
    assert not pcrf.application.sessions


def test_ipv6(pcrf: Pcrf) -> None:
    assert result_of(pcrf.ask(rx.AA, _aar(address="2001:db8::1"))) == codec.SUCCESS
    assert str(pcrf.application.sessions["pcscf;1;2"].ue_address) == "2001:db8::1"


def test_too_many_sessions(pcrf: Pcrf) -> None:
    results = [result_of(pcrf.ask(rx.AA, _aar(), f"pcscf;1;{number}")) for number in range(3)]
    assert results == [codec.SUCCESS, codec.SUCCESS, rx.TEMPORARY_NETWORK_FAILURE]


@pytest.mark.parametrize(
    ("command", "avps", "result", "failed"),
    [
        pytest.param(rx.AA, _aar()[1:], codec.MISSING_AVP, 8, id="29.214-5.6.1 no UE address"),
        pytest.param(rx.SESSION_TERMINATION, [], codec.MISSING_AVP, 295, id="29.214-5.6.5 no Termination-Cause"),
        pytest.param(
            rx.AA,
            _aar(make(rx.MEDIA_COMPONENT_DESCRIPTION, [make(rx.MEDIA_TYPE, 0)])),
            codec.MISSING_AVP,
            518,
            id="29.214-5.3.16 no Media-Component-Number",
        ),
        pytest.param(
            rx.AA,
            _aar(_component(flows=(make(rx.MEDIA_SUB_COMPONENT, [make(rx.FLOW_STATUS, 2)]),))),
            codec.MISSING_AVP,
            509,
            id="29.214-5.3.17 no Flow-Number",
        ),
        pytest.param(
            rx.AA,
            _aar(_component(1), _component(1)),
            rx.INVALID_SERVICE_INFORMATION,
            518,
            id="29.214-5.3.16 the same component twice",
        ),
        pytest.param(
            rx.AA,
            _aar(_component(flows=(_flow(1, UP, DOWN, UP),))),
            codec.AVP_OCCURS_TOO_MANY_TIMES,
            507,
            id="29.214-5.3.8 three descriptions of a flow",
        ),
        pytest.param(rx.AA, _aar(_component(status=9)), codec.INVALID_AVP_VALUE, 511, id="29.214-5.3.11 Flow-Status"),
        pytest.param(
            rx.AA,
            [Avp(8, payload=b"\x0a\x2d", flags=0x40), _component()],
            codec.INVALID_AVP_LENGTH,
            8,
            id="address of two octets",
        ),
        pytest.param(
            rx.AA,
            [make(rx.FRAMED_IPV6_PREFIX, b"\x00\x81" + bytes(16)), _component()],
            codec.INVALID_AVP_VALUE,
            97,
            id="prefix of 129 bits",
        ),
        pytest.param(
            rx.AA,
            [_address(), make(rx.SUBSCRIPTION_ID, [make(rx.SUBSCRIPTION_ID_TYPE, 2)])],
            codec.MISSING_AVP,
            444,
            id="29.214-5.6.1 subscription without data",
        ),
    ],
)
def test_refusals(pcrf: Pcrf, command: int, avps: list[Avp], result: ResultCode, failed: int) -> None:
    answer = pcrf.ask(command, avps)
    assert result_of(answer) == result
    assert [avp.code for group in answer.groups(codec.FAILED_AVP) for avp in group.everything()] == [failed]
    assert not pcrf.application.sessions


@pytest.mark.parametrize(
    "text",
    [
        "permit out ip from any to assigned",
        "permit in 6 from 10.0.0.0/8 to !203.0.113.9 1-65535",
        "permit out udp from 2001:db8::1 5000,5001 to 2001:db8::2",
        UP,
    ],
)
def test_filters_accepted(pcrf: Pcrf, text: str) -> None:
    assert result_of(pcrf.ask(rx.AA, _aar(_component(flows=(_flow(1, text),))))) == codec.SUCCESS


@pytest.mark.parametrize(
    "text",
    [
        "deny in 17 from 10.45.0.2 50000 to 203.0.113.9 40000",
        "permit in 17 from 10.45.0.2 50000",
        "permit in 17 from nowhere to 203.0.113.9",
        "permit in 17 from 10.0.0.0/33 to 203.0.113.9",
        "permit in  17 from 10.45.0.2 to 203.0.113.9",
        "permit in 17 from 10.45.0.2 to 203.0.113.9 established",
        "",
    ],
)
def test_filters_refused(pcrf: Pcrf, text: str) -> None:
    """29.214-5.3.8: IPFilterRule without options, and permit only."""
    assert result_of(pcrf.ask(rx.AA, _aar(_component(flows=(_flow(1, text),))))) == rx.FILTER_RESTRICTIONS


@pytest.mark.parametrize(
    ("break_avps", "result"),
    [
        pytest.param(lambda avps: avps[1:], codec.MISSING_AVP, id="no Session-Id"),
        pytest.param(
            lambda avps: [avps[0], *avps[2:]], codec.MISSING_AVP, id="VSAI does not do, Open5GS says the same"
        ),
        pytest.param(lambda avps: [*avps[1:], avps[0]], codec.MISSING_AVP, id="Session-Id is not first"),
        pytest.param(
            lambda avps: [avps[0], make(codec.AUTH_APPLICATION_ID, 1), *avps[2:]],
            codec.INVALID_AVP_VALUE,
            id="another application",
        ),
        pytest.param(
            lambda avps: [*avps[:4], make(codec.DESTINATION_REALM, b"epc.test"), *avps[5:]],
            codec.REALM_NOT_SERVED,
            id="another realm",
        ),
    ],
)
def test_common_avps(pcrf: Pcrf, break_avps: Callable[[list[Avp]], list[Avp]], result: ResultCode) -> None:
    """29.214-5.6.1, RFC 6733 6.1"""
    common = [
        make(codec.SESSION_ID, "pcscf;1;2"),
        make(codec.AUTH_APPLICATION_ID, codec.RX_APPLICATION),
        make(codec.ORIGIN_HOST, f"pcscf.{REALM}".encode()),
        make(codec.ORIGIN_REALM, REALM.encode()),
        make(codec.DESTINATION_REALM, REALM.encode()),
    ]
    header = codec.request_header(rx.AA, 1, 2, codec.RX_APPLICATION)
    request = codec.encode(header, break_avps([*common, *_aar()]))
    assert result_of(codec.decode(pcrf.node.answer(codec.decode(request)))) == result


def test_other_application(pcrf: Pcrf) -> None:
    header = codec.request_header(300, 1, 2, codec.CX_APPLICATION)
    answer = codec.decode(pcrf.node.answer(codec.decode(codec.encode(header, [make(codec.SESSION_ID, "a")]))))
    assert result_of(answer) == codec.APPLICATION_UNSUPPORTED
    assert answer.header.is_error


def test_address_refused_twice() -> None:
    with pytest.raises(ConfigError, match="is given twice"):
        loads(SETTINGS + '[[refuse]]\nue_address = "127.0.2.9"\n', PcrfSettings, Path("pcrf.toml"))
