"""AVP definitions and how values are written and read."""

from __future__ import annotations

import pytest

from opencscf.common.errors import ParseError
from opencscf.diameter import dictionary
from opencscf.diameter.codec import Avp
from opencscf.diameter.dictionary import TGPP, Application, AvpDefinition, AvpFormat, command_name, definition_of

CONSTANTS = {name: value for name, value in vars(dictionary).items() if isinstance(value, AvpDefinition)}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_named_like_their_avp(name: str) -> None:
    assert CONSTANTS[name].name.upper().replace("-", "_") == name


@pytest.mark.parametrize(
    ("code", "vendor", "mandatory"),
    [
        pytest.param(601, TGPP, True, id="29.229-6.3 Public-Identity is M"),
        pytest.param(633, TGPP, True, id="29.229-6.3 Originating-Request is M"),
        pytest.param(628, TGPP, False, id="29.229-6.3 Supported-Features is not M"),
        pytest.param(637, TGPP, False, id="29.229-6.3 UAR-Flags is not M"),
        pytest.param(527, TGPP, True, id="29.214-5.3 Service-Info-Status is M"),
        pytest.param(529, TGPP, False, id="29.214-5.3 AF-Signalling-Protocol is not M"),
        pytest.param(533, TGPP, False, id="29.214-5.3 Rx-Request-Type is not M"),
        pytest.param(458, 13019, False, id="29.214-5.4 Reservation-Priority is not M"),
        pytest.param(269, 0, False, id="6733-5.3.7 Product-Name is not M"),
        pytest.param(281, 0, False, id="6733-7.3 Error-Message is not M"),
        pytest.param(263, 0, True, id="6733-8.8 Session-Id is M"),
    ],
)
def test_mandatory_bit(code: int, vendor: int, mandatory: bool) -> None:  # noqa: FBT001  # a table's column
    definition = definition_of(code, vendor)
    assert definition is not None
    assert definition.mandatory is mandatory
    assert definition.octets(b"").mandatory is mandatory


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SIP_AUTH_DATA_ITEM", AvpFormat.GROUP),
        ("SIP_AUTHENTICATE", AvpFormat.OCTETS),
        ("RESULT_CODE", AvpFormat.NUMBER),
        ("ORIGIN_HOST", AvpFormat.TEXT),
        ("FLOW_DESCRIPTION", AvpFormat.TEXT),
        ("HOST_IP_ADDRESS", AvpFormat.ADDRESS),
    ],
)
def test_formats(name: str, expected: AvpFormat) -> None:
    assert CONSTANTS[name].format is expected


def test_unknown_avps_have_no_definition_but_a_name() -> None:
    assert definition_of(4_000_000) is None
    assert definition_of(1, 4_000_000) is None
    assert dictionary.avp_name(4_000_000) == "AVP 4000000"
    assert dictionary.avp_name(7, 4_000_000) == "AVP 7 of vendor 4000000"
    assert dictionary.avp_name(606, TGPP) == "User-Data"
    assert dictionary.avp_name(634, TGPP) == "Wildcarded-Public-Identity"


@pytest.mark.parametrize(
    ("command", "is_request", "name"),
    [(300, True, "UAR"), (300, False, "UAA"), (257, True, "CER"), (282, False, "DPA"), (272, True, "272-R")],
)
def test_command_names(command: int, is_request: bool, name: str) -> None:  # noqa: FBT001  # a table's column
    assert command_name(command, is_request=is_request) == name


def test_values_are_read_as_they_were_written() -> None:
    avps = [
        dictionary.USER_NAME.text("älice@ims.test"),
        dictionary.AUTH_APPLICATION_ID.number(Application.CX),
        dictionary.SIP_AUTHENTICATE.octets(b"\0\1"),
        dictionary.EXPERIMENTAL_RESULT.group(dictionary.VENDOR_ID.number(TGPP)),
    ]
    assert dictionary.USER_NAME.text_in(avps) == "älice@ims.test"
    assert dictionary.AUTH_APPLICATION_ID.number_in(avps) == 16777216
    assert dictionary.AUTH_APPLICATION_ID.member_in(avps, Application) is Application.CX
    assert dictionary.SIP_AUTHENTICATE.octets_in(avps) == b"\0\1"
    assert dictionary.EXPERIMENTAL_RESULT.group_in(avps) == (dictionary.VENDOR_ID.number(TGPP),)
    assert dictionary.HOST_IP_ADDRESS.address("127.0.0.1").data == b"\0\1\x7f\0\0\1"
    assert dictionary.HOST_IP_ADDRESS.address("::1").data == b"\0\2" + bytes(15) + b"\1"


def test_octets_of_sip_that_are_no_utf8_leave_as_they_came() -> None:
    text = b"sip:\xff@ims.test".decode("utf-8", "surrogateescape")
    assert dictionary.PUBLIC_IDENTITY.text(text).data == b"sip:\xff@ims.test"


@pytest.mark.parametrize(
    ("name", "reader", "data"),
    [
        pytest.param("USER_NAME", "text_in", b"\xff", id="text that is no UTF-8"),
        pytest.param("RESULT_CODE", "number_in", b"\0\0\1", id="number of three octets"),
        pytest.param("EXPERIMENTAL_RESULT", "group_in", b"\0\0\1", id="group that is no AVP"),
    ],
)
def test_wrong_values_are_named(name: str, reader: str, data: bytes) -> None:
    definition = CONSTANTS[name]
    assert getattr(definition, reader)([]) is None
    with pytest.raises(ParseError, match=definition.name):
        getattr(definition, reader)([Avp(definition.code, data)])


def test_value_outside_an_enumeration_is_named() -> None:
    with pytest.raises(ParseError, match="Auth-Application-Id has no value 5"):
        dictionary.AUTH_APPLICATION_ID.member_in([dictionary.AUTH_APPLICATION_ID.number(5)], Application)
