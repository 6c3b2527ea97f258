"""SP-05: the torture tests of RFC 4475, each message driven through parser, stack and runtime of a proxy.

Where the RFC leaves a choice, the row says what was chosen. No row is a deviation.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opencscf.common.actions import Outcome, Respond
from opencscf.common.errors import ParseError
from opencscf.common.events import Event, RequestReceived
from opencscf.common.ims.register import Register
from opencscf.common.sip.headers import CSeq
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.names import canonical_name
from opencscf.common.sip.parser import FramingLost, StreamParser, parse
from opencscf.common.sip.sdp import SessionDescription
from opencscf.common.sip.uri import SipUri, TelUri, parse_uri

FILES = Path(__file__).parents[2] / "fixtures" / "rfc4475"

# A request that goes on to the next hop, and the URI that leads there.
FORWARDED = [
    pytest.param("wsinv", "sip:services.example.com;lr;unknownwith=value;unknown-no-value", id="3.1.1.1 wsinv"),
    pytest.param(
        "intmeth",
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
        id="3.1.1.2 intmeth",
    ),
    pytest.param("esc01", "sip:sips%3Auser%40example.com@example.net", id="3.1.1.3 esc01"),
    pytest.param("escnull", "sip:example.com", id="3.1.1.4 escnull"),
    pytest.param("esc02", "sip:registrar.example.com", id="3.1.1.5 esc02"),
    pytest.param("lwsdisp", "sip:user@example.com", id="3.1.1.6 lwsdisp"),
    pytest.param("longreq", "sip:user@example.com", id="3.1.1.7 longreq"),
    pytest.param("dblreq", "sip:example.com", id="3.1.1.8 dblreq, without the noise behind it"),
    pytest.param("semiuri", "sip:user;par=u%40example.net@example.com", id="3.1.1.9 semiuri"),
    pytest.param("transports", "sip:user@example.com", id="3.1.1.10 transports"),
    pytest.param("mpart01", "sip:127.0.0.1:5080", id="3.1.1.11 mpart01"),
    pytest.param("baddate", "sip:user@example.com", id="3.1.2.12 baddate, whose Date no proxy needs"),
    pytest.param("regbadct", "sip:example.com", id="3.1.2.13 regbadct, whose Contact no proxy needs"),
    pytest.param("badbranch", "sip:user@example.com", id="3.2.1 badbranch, as in RFC 2543"),
    pytest.param("unksm2", "sip:example.com", id="3.3.4 unksm2"),
    pytest.param("invut", "sip:user@example.com", id="3.3.6 invut"),
    pytest.param("regaut01", "sip:example.com", id="3.3.7 regaut01"),
    pytest.param("cparam01", "sip:example.com", id="3.3.12 cparam01"),
    pytest.param("cparam02", "sip:example.com", id="3.3.13 cparam02"),
    pytest.param("regescrt", "sip:example.com", id="3.3.14 regescrt"),
    pytest.param("sdp01", "sip:user@example.com", id="3.3.15 sdp01"),
    pytest.param("inv2543", "sip:UserB@example.com", id="3.4.1 inv2543"),
]

PARSER, PROXY = "parser", "proxy"  # who finds the fault

# A request that is refused: by whom, with which status, and to which port of the sender the answer goes.
REFUSED = [
    pytest.param("badinv01", PROXY, 400, 5062, id="3.1.2.1 badinv01, to where it came from for want of a Via"),
    pytest.param("clerr", PARSER, 400, 5060, id="3.1.2.2 clerr"),
    pytest.param("ncl", PARSER, 400, 5060, id="3.1.2.3 ncl"),
    pytest.param("scalar02", PARSER, 400, 5060, id="3.1.2.4 scalar02"),
    pytest.param("quotbal", PROXY, 400, 5050, id="3.1.2.6 quotbal"),
    pytest.param("ltgtruri", PARSER, 400, 5060, id="3.1.2.7 ltgtruri"),
    pytest.param("lwsruri", PARSER, 400, 5060, id="3.1.2.8 lwsruri"),
    pytest.param("lwsstart", PARSER, 400, 5060, id="3.1.2.9 lwsstart"),
    pytest.param("trws", PARSER, 400, 5060, id="3.1.2.10 trws"),
    pytest.param("escruri", PROXY, 400, 5060, id="3.1.2.11 escruri"),
    pytest.param("badaspec", PROXY, 400, 5060, id="3.1.2.14 badaspec"),
    pytest.param("baddn", PROXY, 400, 5060, id="3.1.2.15 baddn"),
    pytest.param("badvers", PARSER, 505, 5062, id="3.1.2.16 badvers, to where it came from: Via has that version too"),
    pytest.param("mismatch01", PARSER, 400, 5060, id="3.1.2.17 mismatch01"),
    pytest.param("mismatch02", PARSER, 501, 5060, id="3.1.2.18 mismatch02"),
    pytest.param("insuf", PARSER, 400, 5060, id="3.3.1 insuf"),
    pytest.param("unkscm", PROXY, 416, 5060, id="3.3.2 unkscm"),
    pytest.param("novelsc", PROXY, 416, 5060, id="3.3.3 novelsc"),
    pytest.param("bext01", PROXY, 420, 5060, id="3.3.5 bext01"),
    pytest.param("multi01", PARSER, 400, 5060, id="3.3.8 multi01"),
    pytest.param("mcl01", PARSER, 400, 5060, id="3.3.9 mcl01"),
    pytest.param("zeromf", PROXY, 483, 5060, id="3.3.11 zeromf"),
]

# A response that nobody asked for here, and whether it can be read as far as the transaction layer does.
RESPONSES = [
    pytest.param("unreason", True, id="3.1.1.12 unreason"),
    pytest.param("noreason", True, id="3.1.1.13 noreason"),
    pytest.param("scalarlg", False, id="3.1.2.5 scalarlg"),
    pytest.param("bigcode", False, id="3.1.2.19 bigcode"),
    pytest.param("bcast", True, id="3.3.10 bcast"),
]

HOP_BY_HOP = {"via", "max-forwards", "content-length"}


def octets(name: str) -> bytes:
    data = (FILES / f"{name}.sip").read_bytes()
    return data + b"\r\n" if name == "baddn" else data  # see the folder's README


def request(name: str) -> Request:
    message = parse(octets(name))
    assert isinstance(message, Request)
    return message


def response(name: str) -> Response:
    message = parse(octets(name))
    assert isinstance(message, Response)
    return message


def test_every_message_has_its_row() -> None:
    """Among the 49 there is none without a verdict."""
    rows = [str(row.values[0]) for row in (*FORWARDED, *REFUSED, *RESPONSES)]
    assert sorted(rows) == sorted(path.stem for path in FILES.glob("*.sip"))
    assert len(rows) == 49


# Whole messages


@pytest.mark.parametrize(("name", "leads_to"), FORWARDED)
def test_forwarded(proxy: Any, name: str, leads_to: str) -> None:
    original = request(name)
    assert bytes(original) == octets(name)[: len(bytes(original))]
    proxy.receive(octets(name))
    assert (proxy.looked_up, proxy.answers, proxy.tracebacks) == ([leads_to], [], [])
    (forwarded,) = proxy.forwarded
    if name == "mpart01":  # its Route names a strict router, which gets the request in its own way (16.6 step 6)
        original.uri, original_uri = leads_to, original.uri
        original.set("Route", f"<{original_uri}>")
    assert (forwarded.method, forwarded.uri, forwarded.body) == (original.method, original.uri, original.body)
    assert unchanged_lines(forwarded) == unchanged_lines(original)
    assert forwarded.values("Via")[2:] == original.values("Via")[1:]
    left = original.max_forwards
    assert forwarded.max_forwards == (70 if left is None else left - 1)

    proxy.receive(bytes(Response.to_request(forwarded, 200, to_tag="b")))
    port = 5062 if original.via.has_rport else original.via.port or 5060
    assert proxy.answers == [(200, proxy.caller._replace(remote=("192.0.2.200", port)))]
    proxy.pass_time(200)
    assert nothing_is_left(proxy)


@pytest.mark.parametrize(("name", "layer", "status", "port"), REFUSED)
def test_refused(proxy: Any, name: str, layer: str, status: int, port: int) -> None:
    if layer == PARSER:
        with pytest.raises(ParseError) as caught:
            parse(octets(name))
        assert caught.value.status == status
    else:
        request(name)
    proxy.receive(octets(name))
    assert proxy.answers == [(status, proxy.caller._replace(remote=("192.0.2.200", port)))]
    assert (proxy.forwarded, proxy.tracebacks) == ([], [])
    proxy.pass_time(40)
    assert nothing_is_left(proxy)


@pytest.mark.parametrize(("name", "is_readable"), RESPONSES)
def test_stray_responses_are_dropped(proxy: Any, name: str, is_readable: bool) -> None:  # noqa: FBT001 - a column
    proxy.receive(octets(name))
    assert (proxy.sent, proxy.tracebacks) == ([], [])
    assert bool(proxy.lines) is not is_readable  # an operator hears of what cannot be read
    if is_readable:
        assert bytes(response(name)) == octets(name)


def test_unsupported_lists_what_a_proxy_does_not_know(proxy: Any) -> None:
    """3.3.5: the Require beside it is for the other end."""
    proxy.receive(octets("bext01"))
    assert proxy.last_answer.values("Unsupported") == ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]


@pytest.mark.parametrize("name", ["unreason", "noreason", "bcast"])
def test_odd_responses_to_what_was_forwarded(proxy: Any, name: str) -> None:
    """3.1.1.12, 3.1.1.13, 3.3.10: a response goes to where its request came from, whatever Via it carries back."""
    proxy.receive(octets("inv2543"))
    (forwarded,) = proxy.forwarded
    odd = response(name)
    if name == "bcast":
        odd.replace_first_value("Via", forwarded.values("Via")[0])
    else:
        odd.set("Via", ", ".join(forwarded.values("Via")))
    proxy.receive(bytes(odd))
    assert not proxy.tracebacks
    assert {target.remote[0] for status, target in proxy.answers} <= {"192.0.2.200"}
    if name == "unreason":
        assert (proxy.last_answer.status, proxy.last_answer.reason) == (200, odd.reason)


def test_bare_cookies_do_not_mix_transactions_up(proxy: Any) -> None:
    """3.2.1: two requests with the same empty branch are two requests, and each is its own retransmission."""
    for number in (b"8", b"9", b"8"):
        proxy.receive(octets("badbranch").replace(b"CSeq: 8", b"CSeq: " + number))
    assert [forwarded.cseq.number for forwarded in proxy.forwarded] == [8, 9]


# Streams


@pytest.mark.parametrize("name", ["ncl", "mcl01", "inv2543"])
def test_framing_that_is_lost_ends_a_stream(name: str) -> None:
    """3.1.2.3, 3.3.9: the connection is closed; RFC 3261 18.3: Content-Length is a must on a stream."""
    with pytest.raises(ParseError):
        StreamParser().feed(octets(name))


def test_a_stream_waits_for_the_rest_of_a_body() -> None:
    """3.1.2.2."""
    assert StreamParser().feed(octets("clerr")) == []


def test_on_a_stream_the_noise_is_a_message() -> None:
    """3.1.1.8 is about datagrams only."""
    with pytest.raises(FramingLost) as lost:
        StreamParser().feed(octets("dblreq"))
    first, second = lost.value.items
    assert lost.value.data == b"C\r\n\r\n"  # its Content-Length is too small
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.method, second.method, len(second.body)) == ("REGISTER", "INVITE", 150)


# What is read from them


@pytest.mark.parametrize(
    ("name", "read", "value"),
    [
        pytest.param(
            "wsinv",
            lambda m: (m.to.uri, m.to.get("tag")),
            ("sip:vivekg@chair-dnrc.example.com", "1918181833n"),
            id="3.1.1.1 folded To with white space in its tag",
        ),
        pytest.param(
            "wsinv",
            lambda m: (m.from_.display, m.from_.uri, m.from_tag),
            ('J Rosenberg \\"', "sip:jdrosen@example.com", "98asjd8"),
            id="3.1.1.1 escapes in quotes",
        ),
        pytest.param("wsinv", lambda m: (m.max_forwards, m.cseq), (68, CSeq(9, "INVITE")), id="3.1.1.1 leading zeros"),
        pytest.param(
            "wsinv",
            lambda m: (m.call_id, m.get("Content-Length"), m.content_type, m.get("Subject")),
            ("wsinv.ndaksdj@192.0.2.1", "150", "application/sdp", ""),
            id="3.1.1.1 names in odd case, an empty Subject",
        ),
        pytest.param(
            "wsinv",
            lambda m: (m.get("NewFangledHeader"), m.get("UnknownHeaderWithUnusualValue")),
            ("newfangled value continued newfangled value", ";;,,;;,;"),
            id="3.1.1.1 unknown header fields",
        ),
        pytest.param(
            "wsinv",
            lambda m: [(via.transport, via.host, via.branch) for via in vias(m)],
            [
                ("UDP", "192.0.2.2", "390skdjuw"),
                ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
                ("UDP", "192.168.255.111", "z9hG4bK30239"),
            ],
            id="3.1.1.1 Via in short and long form, with commas",
        ),
        pytest.param(
            "wsinv",
            lambda m: [(route.sip_uri.lr, route.sip_uri.params.get("unknown-no-value")) for route in m.routes],
            [(True, "")],
            id="3.1.1.1 Route parameters without value",
        ),
        pytest.param(
            "wsinv",
            lambda m: [
                (contact.display, contact.get("newparam"), contact.get("secondparam"), contact.q)
                for contact in m.contacts
            ],
            [('Quoted string ""', "newvalue", "", 0.33)],
            id="3.1.1.1 Contact over three lines",
        ),
        pytest.param(
            "wsinv", lambda m: m.request_uri.params.get("unknownparam"), "", id="3.1.1.1 unknown Request-URI parameter"
        ),
        pytest.param(
            "wsinv",
            lambda m: [(media.media, media.port, media.connection) for media in SessionDescription.parse(m.body).media],
            [("audio", 49217, "192.0.2.4"), ("video", 3227, "192.0.2.4")],
            id="3.1.1.1 session description",
        ),
        pytest.param(
            "intmeth",
            lambda m: (m.method, m.cseq),
            (
                "!interesting-Method0123456789_*+`.%indeed'~",
                CSeq(139122385, "!interesting-Method0123456789_*+`.%indeed'~"),
            ),
            id="3.1.1.2 method",
        ),
        pytest.param(
            "intmeth",
            lambda m: (m.request_uri.user, m.request_uri.password, m.request_uri.host),
            (
                "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
                "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)",
                "example.com",
            ),
            id="3.1.1.2 Request-URI",
        ),
        pytest.param("intmeth", lambda m: m.to.display, "BEL:\a NUL:\0 DEL:\x7f", id="3.1.1.2 NUL in a quoted-pair"),
        pytest.param(
            "intmeth",
            lambda m: (m.from_.display, m.from_tag, m.from_.get("fromParam''~+*_!.-%")),
            ("token1~` token2'+_ token3*%!.-", "_token~1'+`*%!-.", "работающий"),
            id="3.1.1.2 tokens in From",
        ),
        pytest.param(
            "intmeth",
            lambda m: (m.call_id, m.via.branch),
            ("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{", "z9hG4bK-.!%66*_+`'~"),
            id="3.1.1.2 Call-ID and branch",
        ),
        pytest.param(
            "intmeth", lambda m: m.get("extensionHeader-!.%*+_`'~"), "\ufeff大停電", id="3.1.1.2 unknown header field"
        ),
        pytest.param(
            "esc01",
            lambda m: (m.request_uri.user, m.request_uri.host, m.to.sip_uri.aor, m.from_.sip_uri.user),
            ("sips%3Auser%40example.com", "example.net", "sip:user@example.com", "I%20have%20spaces"),
            id="3.1.1.3 escapes",
        ),
        pytest.param(
            "esc01",
            lambda m: [
                (contact.sip_uri.lr, same_uri(contact, f"sip:caller@host5.example.net;lr;name={value}"))
                for contact in m.contacts
                for value in ("value%2541", "value%41", "valueA")
            ],
            [(False, True), (False, False), (False, False)],
            id="3.1.1.3 nothing is unescaped twice",
        ),
        pytest.param(
            "escnull",
            lambda m: (m.to.sip_uri.aor, [contact.sip_uri.user for contact in m.contacts]),
            ("sip:null-%00-null@example.com", ["%00", "%00%00"]),
            id="3.1.1.4 escaped NULs stay and count",
        ),
        pytest.param("esc02", lambda m: (m.method, m.to.display), ("RE%47IST%45R", "%Z%45"), id="3.1.1.5 no escapes"),
        pytest.param(
            "esc02",
            lambda m: [contact.uri for contact in m.contacts],
            ["sip:alias1@host1.example.com", "sip:alias3@host3.example.com"],
            id="3.1.1.5 C%6Fntact is no Contact",
        ),
        pytest.param(
            "lwsdisp",
            lambda m: (m.from_.display, m.from_.uri),
            ("caller", "sip:caller@example.com"),
            id="3.1.1.6 no white space before the bracket",
        ),
        pytest.param(
            "longreq",
            lambda m: (m.to.display, m.to.sip_uri.port, m.from_tag, m.call_id),
            (
                f"I have a user name of {'extreme' * 10} proportion",
                6000,
                f"12{'982' * 50}424",
                f"longreq.one{'really' * 20}longcallid",
            ),
            id="3.1.1.7 long values",
        ),
        pytest.param(
            "longreq",
            lambda m: [via.host for via in vias(m)],
            [*(f"sip{number}.example.com" for number in range(33, 0, -1)), "host.example.com"],
            id="3.1.1.7 34 Via lines",
        ),
        pytest.param(
            "longreq",
            lambda m: (vias(m)[-1].branch, vias(m)[-1].received),
            (f"very{'long' * 50}branchvalue", "192.0.2.5"),
            id="3.1.1.7 long branch",
        ),
        pytest.param("dblreq", lambda m: (m.method, m.body), ("REGISTER", b""), id="3.1.1.8 the first message only"),
        pytest.param("semiuri", lambda m: m.request_uri.user, "user;par=u%40example.net", id="3.1.1.9 user part"),
        pytest.param(
            "transports",
            lambda m: [via.transport for via in vias(m)],
            ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"],
            id="3.1.1.10 transports",
        ),
        pytest.param(
            "mpart01",
            lambda m: (m.content_type, len(m.body), m.body.count(b"\0") > 0, m.via.has_rport),
            ("multipart/mixed", 553, True, True),
            id="3.1.1.11 binary body",
        ),
        pytest.param("baddate", lambda m: m.get("Date"), "Fri, 01 Jan 2010 16:00:00 EST", id="3.1.2.12 text of Date"),
        pytest.param(
            "unksm2",
            lambda m: (m.to.uri, m.from_.uri, [contact.uri for contact in m.contacts]),
            ("isbn:2983792873", "http://www.example.com", ["name:John_Smith"]),
            id="3.3.4 URIs of other schemes",
        ),
        pytest.param(
            "invut", lambda m: (m.content_type, len(m.body)), ("application/unknownformat", 40), id="3.3.6 body"
        ),
        pytest.param(
            "regaut01",
            lambda m: m.get("Authorization"),
            "NoOneKnowsThisScheme opaque-data=here",
            id="3.3.7 Authorization",
        ),
        pytest.param(
            "cparam01",
            lambda m: [(contact.get("unknownparam"), contact.sip_uri.params) for contact in m.contacts],
            [("", ())],
            id="3.3.12 parameter of the contact",
        ),
        pytest.param(
            "cparam02",
            lambda m: [(contact.params, contact.sip_uri.params.get("unknownparam")) for contact in m.contacts],
            [((), "")],
            id="3.3.13 parameter of the URI",
        ),
        pytest.param(
            "regescrt",
            lambda m: [(contact.uri, contact.sip_uri.headers.get("Route")) for contact in m.contacts],
            [("sip:user@example.com?Route=%3Csip:sip.example.com%3E", "%3Csip:sip.example.com%3E")],
            id="3.3.14 header field of the URI",
        ),
        pytest.param("sdp01", lambda m: m.get("Accept"), "text/nobodyKnowsThis", id="3.3.15 Accept"),
        pytest.param(
            "inv2543",
            lambda m: (m.via.branch, m.from_tag, m.max_forwards, m.get("Content-Length"), len(m.body)),
            (None, None, None, None, 105),
            id="3.4.1 what RFC 2543 left out",
        ),
        pytest.param(
            "inv2543",
            lambda m: (m.record_routes[0].sip_uri.maddr, m.from_.sip_uri.tel, m.to.get("user")),
            ("ss1.example.com", TelUri("+13035551111"), "phone"),
            id="3.4.1 addresses",
        ),
    ],
)
def test_values_of_requests(name: str, read: Callable[[Request], object], value: object) -> None:
    assert read(request(name)) == value


@pytest.mark.parametrize(
    ("name", "read", "value"),
    [
        pytest.param(
            "unreason",
            lambda m: (m.status, m.reason),
            (200, "= 2**3 * 5**2 но сто девяносто девять - простое"),
            id="3.1.1.12 reason",
        ),
        pytest.param("noreason", lambda m: (m.status, m.reason), (100, ""), id="3.1.1.13 no reason"),
        pytest.param("bcast", lambda m: vias(m)[1].host, "255.255.255.255", id="3.3.10 second Via"),
        pytest.param("scalarlg", lambda m: (m.status, m.via.received), (503, "192.0.2.129"), id="3.1.2.5 the rest"),
    ],
)
def test_values_of_responses(name: str, read: Callable[[Response], object], value: object) -> None:
    assert read(response(name)) == value


# A registrar in place of the proxy's core


@pytest.mark.parametrize(
    ("name", "status"),
    [
        pytest.param("escnull", 200, id="3.1.1.4 escnull"),
        pytest.param("dblreq", 200, id="3.1.1.8 dblreq"),
        pytest.param("regbadct", 400, id="3.1.2.13 regbadct: a question mark needs brackets"),
        pytest.param("unksm2", 400, id="3.3.4 unksm2: an address-of-record is a SIP URI"),
        pytest.param("regaut01", 200, id="3.3.7 regaut01: credentials of an unknown scheme are as good as none"),
        pytest.param("cparam01", 200, id="3.3.12 cparam01"),
        pytest.param("cparam02", 200, id="3.3.13 cparam02"),
        pytest.param("regescrt", 200, id="3.3.14 regescrt"),
    ],
)
def test_registrar(proxy: Any, name: str, status: int) -> None:
    """Reads what the S-CSCF reads of a REGISTER."""
    contacts: list[str] = []

    def register(event: Event) -> Outcome:
        assert isinstance(event, RequestReceived)
        registration = Register.parse(event.request)
        assert registration.credentials is None
        contacts.extend(contact.uri for contact in event.request.contacts)
        return [Respond(event.request, 200)]

    proxy.decide = register
    proxy.receive(octets(name))
    assert [answer for answer, _ in proxy.answers] == [status]
    assert not proxy.tracebacks
    if name.startswith("cparam"):
        assert contacts == [f"sip:+19725552222@gw1.example.net{';unknownparam' if name == 'cparam02' else ''}"]
    proxy.pass_time(40)
    assert nothing_is_left(proxy)


def unchanged_lines(message: Message) -> list[bytes]:
    lines = re.split(rb"\r\n(?![ \t])", bytes(message).partition(b"\r\n\r\n")[0])[1:]
    return [line for line in lines if canonical_name(line.partition(b":")[0].decode()) not in HOP_BY_HOP]


def vias(message: Message) -> list[Any]:
    """All Via values, each as the type the topmost one has."""
    message = message.copy()
    values = []
    while message.has("Via"):
        values.append(message.via)
        message.remove_first_value("Via")
    return values


def same_uri(address: Any, text: str) -> bool:
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    parsed: SipUri = address.sip_uri
    return parsed.equivalent(uri)


def nothing_is_left(proxy: Any) -> bool:
    runtime = proxy.runtime
    tables = (runtime._waiting, runtime._resolving, runtime._undecided)
    return proxy.stack.server_transactions == proxy.stack.client_transactions == len(proxy.wheel) == 0 and not any(
        tables
    )
