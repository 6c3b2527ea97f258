"""Our AVPs as scapy knows and reads them: a dictionary and a codec that are neither ours nor python-diameter's."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.contrib.diameter import AvpDefDict, DiamG

from opencscf.common.ims.aka import AuthVector
from opencscf.diameter import cx, dictionary, rx
from opencscf.diameter.codec import PROXIABLE, REQUEST, Avp, DiameterMessage, decode_avps
from opencscf.diameter.dictionary import AvpDefinition, AvpFormat
from opencscf.diameter.results import Result

MANDATORY = 0x40  # the M flag
DEFINITIONS = [one for one in vars(dictionary).values() if isinstance(one, AvpDefinition)]
UNKNOWN_TO_SCAPY = {"Codec-Data", "Framed-IP-Address"}
SESSION_ID = dictionary.SESSION_ID.text("scscf.ims.test;1;2")
IMPI, IMPU, SCSCF = "001010000000001@ims.test", "sip:15550000001@ims.test", "sip:scscf.ims.test:5060"
FLOW = rx.MediaSubComponent(1, ("permit in 17 from 10.45.0.2 50000 to 203.0.113.9 40000",))
AUDIO = rx.MediaComponent(1, rx.MediaType.AUDIO, (FLOW,), 49_000, 49_001, rx.FlowStatus.ENABLED, 2_400, 600, ())
VECTOR = AuthVector(bytes(range(16)), bytes(range(16, 32)), b"\x11" * 7, b"\x22" * 16, b"\x33" * 16)  # RES is padded
MESSAGES: list[Any] = [
    cx.UserAuthorizationRequest(IMPI, IMPU, "ims.test", is_emergency=True),
    cx.UserAuthorizationAnswer(Result.FIRST_REGISTRATION, None, cx.ServerCapabilities(frozenset({1, 2}))),
    cx.MultimediaAuthRequest(IMPI, IMPU, SCSCF, resync=bytes(30)),
    cx.MultimediaAuthAnswer(Result.SUCCESS, (VECTOR,)),
    cx.ServerAssignmentRequest(IMPI, IMPU, SCSCF, cx.ServerAssignmentType.REGISTRATION),
    cx.ServerAssignmentAnswer(Result.SUCCESS, b"<IMSSubscription/>", None),
    cx.LocationInfoRequest(IMPU),
    cx.LocationInfoAnswer(Result.SUCCESS, SCSCF),
    rx.AaRequest("pcscf.ims.test;1;2", "10.45.0.2", IMPU, (AUDIO,)),
    rx.AaAnswer(Result.SUCCESS),
    rx.SessionTerminationRequest("pcscf.ims.test;1;2"),
    rx.SessionTerminationAnswer(Result.SUCCESS),
]


def has_format(field: Any, avp_format: AvpFormat) -> bool:
    """Tell whether scapy reads such data in a way that goes with ours; it has a class of its own for enumerations."""
    name = field.__name__.partition("_")[2]
    if name[0].isdigit():
        return avp_format is AvpFormat.NUMBER
    return avp_format in {
        "Unsigned32": {AvpFormat.NUMBER},
        "Address": {AvpFormat.ADDRESS},
        "Grouped": {AvpFormat.GROUP},
        "StrLenField": {AvpFormat.TEXT},
        "IPFilterRule": {AvpFormat.TEXT},
        "OctetString": {AvpFormat.OCTETS, AvpFormat.TEXT},  # a visited network's identifier is a name, TS 29.229 6.3.1
    }.get(name, set())


@pytest.mark.parametrize("ours", DEFINITIONS, ids=lambda one: one.name)
def test_definitions_are_scapys(ours: AvpDefinition) -> None:
    theirs = AvpDefDict[ours.vendor].get(ours.code)
    if ours.name in UNKNOWN_TO_SCAPY:  # its table ends earlier
        assert theirs is None
        return
    assert theirs is not None
    name, field, flags = theirs
    assert (ours.name, ours.mandatory) == (name, bool(flags & MANDATORY))
    assert has_format(field, ours.format)


def flat(avps: tuple[Avp, ...]) -> list[tuple[int, int, int]]:
    """List code, vendor and length of each AVP, those of groups after their group."""
    found = []
    for avp in avps:
        found.append((avp.code, avp.vendor, (12 if avp.vendor else 8) + len(avp.data)))
        definition = AvpDefDict.get(avp.vendor, {}).get(avp.code)
        if definition is not None and definition[1].__name__.endswith("Grouped"):
            found += flat(avp.members)
    return found


def flat_as_scapy_reads(avps: Any) -> list[tuple[int, int, int]]:
    found = []
    for avp in avps:
        if hasattr(avp, "avpCode"):  # the rest is padding
            found.append((avp.avpCode, getattr(avp, "avpVnd", None) or 0, avp.avpLen))
            if isinstance(avp.val, list):
                found += flat_as_scapy_reads(avp.val)
    return found


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_messages_are_read_by_scapy_as_they_were_meant(message: Any) -> None:
    is_request = type(message).__name__.endswith("Request")
    command = message.command if is_request else 0
    avps = (SESSION_ID, *decode_avps(message.encode()))
    sent = DiameterMessage(command, dictionary.Application.CX, PROXIABLE | (REQUEST if is_request else 0), 1, 2, avps)
    data = sent.encode()
    read = DiamG(data)
    assert (read.drCode, read.drLen, read.drHbHId, read.drEtEId) == (command, len(data), 1, 2)
    assert flat_as_scapy_reads(read.avpList) == flat(avps)
    assert bytes(read) == data
