"""What every input of a peer must keep to, one function for each reader: ParseError or a value that survives writing.

Any other exception, and any broken promise, is a finding. `seeds` gives each target something to begin with.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from opencscf.common.errors import ParseError
from opencscf.common.ids import Ids
from opencscf.common.ims.aka import AuthVector
from opencscf.common.ims.register import Register
from opencscf.common.sip import digest, preferences, proxy, session_timer
from opencscf.common.sip.headers import Challenge, Credentials, NameAddr, Via
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.parser import FramingLost, Malformed, StreamParser, parse, parse_for_rejection
from opencscf.common.sip.sdp import SessionDescription
from opencscf.common.sip.uri import SipUri, parse_uri
from opencscf.common.transport.stun import binding_response
from opencscf.diameter import codec, cx, rx
from opencscf.diameter.codec import DiameterMessage, StreamDecoder
from opencscf.diameter.dictionary import SESSION_ID
from opencscf.diameter.results import Result
from opencscf.scscf.profile import UserData, UserProfile

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"
PROFILES: Final = Path(__file__).parents[1] / "scscf" / "profiles"

_SECRET: Final = frozenset({"ck", "ik", "response"})  # what repr() of a challenge or of credentials must not show
_TYPED: Final = (
    "via", "from_", "to", "from_tag", "to_tag", "call_id", "cseq", "max_forwards", "expires", "content_type",
    "contacts", "is_contact_star", "routes", "record_routes", "path", "service_route", "transaction_id",
    "invite_transaction_id",
)  # fmt: skip
_OF_DIAMETER: Final[tuple[Any, ...]] = (
    cx.UserAuthorizationRequest, cx.UserAuthorizationAnswer, cx.MultimediaAuthRequest, cx.MultimediaAuthAnswer,
    cx.ServerAssignmentRequest, cx.ServerAssignmentAnswer, cx.LocationInfoRequest, cx.LocationInfoAnswer,
    rx.AaRequest, rx.AaAnswer, rx.SessionTerminationRequest, rx.SessionTerminationAnswer,
)  # fmt: skip


def sip_datagram(data: bytes) -> None:
    """Parse a datagram; read, edit, copy and write what it holds, and answer what cannot be parsed."""
    try:
        message = parse(data)
    except ParseError as fault:
        refused = parse_for_rejection(data)
        if refused is not None:
            _answer(refused, fault.status)
        return
    assert bytes(parse(bytes(message), datagram=False)) == bytes(message)
    read_everything(message)
    edited = message.copy()
    edited.prepend("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKours")
    edited.append("Record-Route", "<sip:192.0.2.10;lr>")
    edited.set("Max-Forwards", "69")
    edited.set_body(b"x", "text/plain")
    again = parse(bytes(edited), datagram=False)
    assert again == edited
    assert again.via.branch == "z9hG4bKours"
    again.remove_first_value("Via")
    if isinstance(message, Request):
        assert again.get_all("Via") == message.get_all("Via")
        _answer(message, 400)
        with suppress(ParseError):
            proxy.validate(message)
            proxy.next_hop_uri(message.copy())


def _answer(request: Request, status: int) -> None:
    assert 400 <= status < 700
    answer = Response.to_request(request, status, to_tag="t")
    assert answer.get_all("Via") == request.get_all("Via")
    with suppress(ParseError):
        assert parse(bytes(answer), datagram=False) == answer


def read_everything(message: Message) -> None:
    """Read each typed property, and what hangs on it."""
    for name in _TYPED:
        with suppress(ParseError):
            getattr(message, name)
    for name in ("via", "from", "contact", "route", "accept", "p-asserted-identity"):
        with suppress(ParseError):
            message.values(name)
    with suppress(ParseError):
        for contact in message.contacts:
            _ = contact.q, contact.expires, contact.tag, contact.parsed_uri
    with suppress(ParseError):
        _ = message.via.rport, message.via.received, message.via.maddr, message.via.sent_by
    if isinstance(message, Request):
        with suppress(ParseError):
            _ = message.request_uri
        with suppress(ParseError):
            register = Register.parse(message)
            _ = register.is_deregistration, register.is_protected, register.visited_network


def sip_stream(data: bytes) -> None:
    """Feed a stream whole and in pieces, which the first octets choose: the messages must be the same."""
    chance = random.Random(data[:2])  # noqa: S311 - the same input must give the same pieces
    data = data[2:]
    pieces = [data[at : at + size] for at, size in _cuts(len(data), chance)]
    assert b"".join(pieces) == data
    assert _fed([data]) == _fed(pieces)


def _fed(pieces: list[bytes]) -> tuple[list[object], bool]:
    parser = StreamParser()
    items: list[object] = []
    for piece in pieces:
        try:
            found = parser.feed(piece)
        except FramingLost as lost:
            return [*items, *map(_comparable, lost.items)], True
        items += map(_comparable, found)
    return items, False


def _comparable(item: object) -> object:
    if isinstance(item, Malformed):
        return item.data, item.error.reason
    if isinstance(item, Message):
        assert bytes(parse(bytes(item), datagram=False)) == bytes(item)
        return bytes(item)
    return item


def _cuts(length: int, chance: random.Random) -> Iterator[tuple[int, int]]:
    at = 0
    while at < length:
        size = chance.choice((1, 2, 3, 7, 50, 400))
        yield at, size
        at += size


def uri(data: bytes) -> None:
    """Read a URI, write it, and compare it with itself in every way."""
    text = _text(data)
    parsed = parse_uri(text)
    assert parse_uri(str(parsed)) == parsed
    assert parsed.equivalent(parsed)
    if isinstance(parsed, SipUri):
        canonical = parse_uri(parsed.aor)
        assert isinstance(canonical, SipUri)
        assert canonical.aor == parsed.aor
        _ = parsed.tel, parsed.transport, parsed.lr, parsed.hostport
        assert parse_uri(str(parsed.with_param("lr"))) == parsed.with_param("lr")
        with suppress(ParseError):
            _ = parsed.maddr
    else:
        assert parse_uri(parsed.canonical).canonical == parsed.canonical  # type: ignore[union-attr]  # a tel URI again
        _ = parsed.to_sip("ims.test")


def address(data: bytes) -> None:
    """Read a name-addr or addr-spec, and a Via, and write them."""
    text = _text(data)
    with suppress(ParseError):
        via = Via.parse(text)
        assert Via.parse(str(via)) == via
        _ = via.branch, via.received, via.maddr, via.rport
    found = NameAddr.parse(text)
    again = NameAddr.parse(str(found))
    assert (again.uri, again.display, again.params) == found
    _ = found.tag, found.expires
    with suppress(ParseError):
        _ = found.q
    _ = found.parsed_uri


def sdp(data: bytes) -> None:
    """Read a session description and write it."""
    description = SessionDescription.parse(data)
    assert SessionDescription.parse(bytes(description)) == description
    for media in description.media:
        _ = media.is_rejected, media.has_rtcp_mux
        with suppress(ParseError):
            _ = media.rtcp_port


def digest_header(data: bytes) -> None:
    """Read a challenge and credentials, write them, and verify what they prove."""
    text = _text(data)
    for kind in (Challenge, Credentials):
        found = kind.parse(text)
        assert kind.parse(str(found)) == found
        for secret in ("ck", "ik"):
            value = found.get(secret)
            shown = [found.scheme, *(other for name, other in found.params.items() if name not in _SECRET)]
            if value is not None and len(value) >= 16 and not any(value in other for other in shown):
                assert value not in repr(found)
    credentials = Credentials.parse(text)
    assert not digest.verify(credentials, "REGISTER", password=b"nobody's")
    for read, name in ((digest.parse_aka_nonce, "nonce"), (digest.parse_auts, "auts")):
        with suppress(ParseError):
            read(credentials.get(name) or "")


def diameter(data: bytes) -> None:
    """Read a Diameter message to its depth, as Cx and Rx do and in pieces, and write it."""
    _decode_in_pieces(data)
    message = codec.decode(data)
    assert codec.decode(message.encode()) == message
    _descend(message.avps, 3)
    for kind in _OF_DIAMETER:
        with suppress(ParseError):
            kind.from_avps(message.avps).encode()


def _descend(avps: Sequence[codec.Avp], depth: int) -> None:
    for avp in avps:
        _ = repr(avp)
        if depth:
            with suppress(ParseError):
                _descend(avp.members, depth - 1)


def _decode_in_pieces(data: bytes) -> None:
    decoder = StreamDecoder()
    with suppress(ParseError):
        for start in range(0, len(data), 7):
            decoder.receive(data[start : start + 7])
            while (item := decoder.next_message()) is not None:
                if isinstance(item, DiameterMessage):
                    assert codec.decode(item.encode()) == item


def user_profile(data: bytes) -> None:
    """Read the profile that an HSS sends."""
    profile = UserData.parse(data).profile
    assert profile.identities
    assert UserProfile.from_json(profile.to_json()) == profile


def stun(data: bytes) -> None:
    """Answer a datagram that may be a keep-alive."""
    answer = binding_response(data, ("2001:db8::1", 5060))
    if answer is not None:
        assert len(answer) <= 2.5 * len(data)
        assert answer[4:20] == data[4:20]


def wishes(data: bytes) -> None:
    """Read what a caller wants of a call, and which of two contacts he reaches: the last lines are these."""
    lines = _text(data).replace("\r", "").split("\n")
    names = itertools.cycle(("Accept-Contact", "Reject-Contact", "Request-Disposition", "Session-Expires", "Min-SE"))
    headers = [(name, line) for name, line in zip(names, lines, strict=False) if line]
    request = Request.new("INVITE", "sip:bob@ims.test", headers)
    assert len(preferences.directives(request)) <= 6
    contacts = [NameAddr.parse(line) for line in lines[-2:]]
    chosen = preferences.choose(request, contacts, lambda contact: contact)
    assert all(contact in contacts for contact in chosen)
    asked = session_timer.ask(request, interval_s=1800, min_s=90)
    if isinstance(asked, session_timer.Asked):
        assert asked.interval_s >= 90


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "sip-datagram": sip_datagram,
    "sip-stream": sip_stream,
    "uri": uri,
    "address": address,
    "sdp": sdp,
    "digest": digest_header,
    "diameter": diameter,
    "user-profile": user_profile,
    "stun": stun,
    "wishes": wishes,
}


def run(name: str, data: bytes) -> None:
    """Give one input to a target; a ParseError is an answer like any other."""
    with suppress(ParseError):
        TARGETS[name](data)


def seeds(name: str) -> list[bytes]:
    """Return inputs that lead a target into its subject: the test messages and what is in them."""
    messages = [path.read_bytes() for path in sorted(FIXTURES.rglob("*.sip"))]
    match name:
        case "sip-datagram":
            return messages
        case "sip-stream":
            return [b"ab" + message + b"\r\n\r\n" + messages[0] for message in messages]
        case "uri":
            found = set(re.findall(rb"(?:sips?|tel|urn):[^\s<>\",]+", b"\n".join(messages)))
            return sorted(found | {b"tel:7042;phone-context=example.com", b"sip:a@[2001:db8::1]:5070;lr?x=y&z="})
        case "address":
            lines = re.findall(rb"(?im)^(?:from|to|contact|route|via|[ftmv])[ \t]*:[ \t]*(.*)\r$", b"\n".join(messages))
            return sorted(set(lines))
        case "sdp":
            return [body for message in messages if (body := message.partition(b"\r\n\r\n")[2]).startswith(b"v=0")]
        case "digest":
            lines = re.findall(rb"(?im)^(?:www-authenticate|authorization)[ \t]*:[ \t]*(.*)\r$", b"\n".join(messages))
            return sorted({*lines, b'Digest username="a@b", realm="b", nonce="AAAA", qop=auth-int, nc=01, auts=""'})
        case "diameter":
            return _diameter_seeds()
        case "stun":
            header = b"\0\1%b\x21\x12\xa4\x42" + bytes(12)
            unknown, fingerprint = b"\0\x24\0\4" + bytes(4), b"\x80\x28\0\4" + bytes(4)
            return [header % b"\0\0", header % b"\0\x08" + unknown, header % b"\0\x10" + unknown + fingerprint]
        case "wishes":
            contacts = b'\n<sip:a@h>;audio;methods="INVITE,BYE";q=0.2\n<sip:b@h>;+n="!#-4:+5.1",description="<PC>"'
            wanted = (
                b"*;audio;require\n*;video\nno-fork,parallel\n1800;refresher=uac\n90",
                b'*;+n="#>=5";explicit',
                b"*",
            )
            return [want + contacts for want in wanted]
        case _:
            return [path.read_bytes() for path in sorted(PROFILES.glob("*.xml"))]


def _diameter_seeds() -> list[bytes]:
    session_id = rx.new_session_id("pcscf.ims.test", Ids(seed=1))
    vector = AuthVector(b"r" * 16, b"a" * 16, b"x" * 8, b"c" * 16, b"i" * 16)
    avps = [
        cx.UserAuthorizationRequest("a@ims.test", "sip:a@ims.test", "ims.test").encode(),
        cx.MultimediaAuthAnswer(Result.SUCCESS, (vector,)).encode(),
        SESSION_ID.write_text(session_id) + rx.SessionTerminationRequest(session_id).encode(),
        codec.Avp(8, IPv4Address("192.0.2.1").packed).encode() + codec.Avp(456, codec.Avp(1, b"abc").encode()).encode(),
    ]
    return [DiameterMessage(300, 16777216, codec.REQUEST, 1, 2, codec.decode_avps(items)).encode() for items in avps]
