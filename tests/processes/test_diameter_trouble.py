"""An HSS or PCRF that goes wrong: the right SIP answer in bounded time, and all is well when the peer is well again."""

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Answer, Avp, Grammar, Received, ResultCode, make
from opencscf.labs.diameter_peer import LocalNode, ServedPeer, vendor_specific_application
from opencscf.labs.hss import cx
from opencscf.labs.pcrf import rx

NET = "127.0.6"
PEER = (f"{NET}.14", 3868)
CORE = (f"{NET}.12", 5060)  # what stands behind the node under test, played by the test itself
UE = (f"{NET}.20", 5062)
REQUEST_TIMEOUT_S = 0.6
BOUND_S = 2.0  # from a request to its answer, whatever the peer does

DIAMETER = f"""
origin_host = "node.ims.test"
origin_realm = "ims.test"
destination_realm = "ims.test"
peers = [{{ host = "peer.ims.test", address = "{PEER[0]}" }}]
request_timeout_s = {REQUEST_TIMEOUT_S}
"""
SETTINGS = {
    "icscf": f"""
[icscf]
domain = "ims.test"
[[icscf.scscf]]
name = "sip:{CORE[0]}:5060"
[cx]
{DIAMETER}""",
    "scscf": f"""
[scscf]
domain = "ims.test"
server_name = "sip:{NET}.10:5060"
icscf = "sip:{CORE[0]}:5060"
[cx]
{DIAMETER}""",
    "pcscf": f"""
[pcscf]
visited_network = "ims.test"
icscf = "sip:{CORE[0]}:5060"
[rx]
{DIAMETER}""",
}
LISTEN = f"""
[[sip.listen]]
address = "{NET}.10"
"""

REGISTER = f"""REGISTER sip:ims.test SIP/2.0
Via: SIP/2.0/UDP {UE[0]}:{UE[1]};branch=z9hG4bK@serial@;rport
Max-Forwards: 70
From: <sip:alice@ims.test>;tag=1
To: <sip:alice@ims.test>
Call-ID: @serial@
CSeq: 1 REGISTER
Contact: <sip:alice@{UE[0]}:{UE[1]}>;expires=600
Authorization: Digest username="alice@ims.test", realm="ims.test", uri="sip:ims.test", nonce="", response=""
P-Visited-Network-ID: ims.test
Path: <sip:token@{UE[0]};lr>
Require: path
Content-Length: 0

"""
SDP = f"""v=0
o=- 1 1 IN IP4 {UE[0]}
s=-
c=IN IP4 {UE[0]}
t=0 0
m=audio 40000 RTP/AVP 97
a=rtpmap:97 AMR/8000/1
"""
INVITE = f"""INVITE tel:+15550000002 SIP/2.0
Via: SIP/2.0/UDP {UE[0]}:{UE[1]};branch=z9hG4bK@serial@;rport
Max-Forwards: 70
From: <sip:alice@ims.test>;tag=1
To: <tel:+15550000002>
Call-ID: @serial@
CSeq: 1 INVITE
Contact: <sip:alice@{UE[0]}:{UE[1]}>
Content-Type: application/sdp
Content-Length: {len(SDP) + SDP.count(chr(10))}

{SDP}"""

# ---------------------------------------------------------------------- what a peer can do wrong

Damage = Callable[[bytes], bytes | None]  # what is sent in the place of an answer; None: the connection is reset


def without_result(answer: bytes) -> bytes:
    message = codec.decode(answer)
    results = {codec.RESULT_CODE.code, codec.EXPERIMENTAL_RESULT.code}
    return codec.encode(message.header, [avp for avp in message.avps if avp.code not in results])


OTHER_APPLICATION = "an answer of another application"  # some peers in the field do this, and are understood
DAMAGES: dict[str, Damage] = {
    "no answer": lambda answer: b"",
    "an answer to another question": lambda answer: answer[:12] + b"\xff\xff\xff\xfe" + answer[16:],
    OTHER_APPLICATION: lambda answer: answer[:8] + (4).to_bytes(4, "big") + answer[12:],
    "no result": without_result,
    "no AVP at all": lambda answer: answer[:1] + (20).to_bytes(3, "big") + answer[4:20],
    "an AVP longer than the message": lambda answer: answer[:25] + b"\xff\xff\xff" + answer[28:],
    "a message longer than allowed": lambda answer: answer[:1] + b"\xff\xff\xff" + answer[4:],
    "half an answer": lambda answer: answer[: len(answer) // 2],
    "garbage": lambda answer: bytes(range(128, 256)) * 4,
    "a reset": lambda answer: None,
}


class Application:
    """Answers every request of Cx or Rx with what it was given."""

    product_name = "trouble"

    def __init__(self, application_id: int, grammars: dict[int, Grammar], result: ResultCode, *avps: Avp) -> None:
        self.application_id = application_id
        self.grammars = grammars
        self.answer_avps = (vendor_specific_application(application_id),)
        self._answer = Answer(result, avps)

    def answer(self, request: Received) -> Answer:
        return self._answer

    def commit(self) -> bool:
        return True


VECTOR = make(
    cx.SIP_AUTH_DATA_ITEM,
    [
        make(cx.SIP_AUTHENTICATION_SCHEME, cx.AKA_SCHEME),
        make(cx.SIP_AUTHENTICATE, bytes(32)),
        make(cx.SIP_AUTHORIZATION, bytes(8)),
        make(cx.CONFIDENTIALITY_KEY, bytes(16)),
        make(cx.INTEGRITY_KEY, bytes(16)),
    ],
)
APPLICATIONS = {
    "icscf": Application(codec.CX_APPLICATION, cx.GRAMMARS, cx.FIRST_REGISTRATION),
    "scscf": Application(codec.CX_APPLICATION, cx.GRAMMARS, codec.SUCCESS, VECTOR),
    "pcscf": Application(codec.RX_APPLICATION, rx.GRAMMARS, codec.SUCCESS),
}


class Peer:
    """A Diameter server of the lab's own making, whose answers are damaged on their way."""

    def __init__(self, application: Application) -> None:
        self.damage: Damage | None = None
        self.well_answered = 0
        self._node = LocalNode(
            application, origin_host="peer.ims.test", origin_realm="ims.test", address=PEER[0], report=self
        )
        self._listening = socket.create_server(PEER)
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def event(self, level: str, event: str, **fields: object) -> None:
        pass

    def close(self) -> None:
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # ends a wait in the thread
        self._thread.join(10)
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.append(connection)
                with connection, contextlib.suppress(ConnectionError):
                    self._serve_one(connection)

    def _serve_one(self, connection: socket.socket) -> None:
        peer = ServedPeer(self._node, "node", time.monotonic())
        while data := connection.recv(65_535):
            answer: bytes | None = peer.receive(data, time.monotonic())
            if answer and int.from_bytes(answer[5:8], "big") in self._node.application.grammars:
                if self.damage is None:
                    self.well_answered += 1
                else:
                    answer = self.damage(answer)
            if answer is None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            connection.sendall(answer)
            if peer.is_closing:
                return


# ---------------------------------------------------------------------- the node's neighbours


class Neighbours:
    """The UE and the core of the network around the node under test."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._serial = 0
        self._ue, self._core = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._ue.bind(UE)
        self._core.bind(CORE)
        if name == "pcscf":
            assert self._ask(REGISTER) == 200

    def close(self) -> None:
        self._ue.close()
        self._core.close()

    def ask(self) -> int:
        """Send what makes the node ask its peer, and tell the final status."""
        return self._ask(INVITE if self._name == "pcscf" else REGISTER)

    def _ask(self, text: str) -> int:
        self._serial += 1
        request = text.replace("\n", "\r\n").replace("@serial@", f"{self._serial}.{time.monotonic()}")
        call_id = f"Call-ID: {request.partition('Call-ID: ')[2].partition(chr(13))[0]}".encode()
        self._ue.sendto(request.encode(), (f"{NET}.10", 5060))
        deadline = time.monotonic() + BOUND_S
        while readable := select.select([self._ue, self._core], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data, source = readable[0].recvfrom(65_535)
            if readable[0] is self._core:
                self._core.sendto(self._core_answer(data), source)
            elif call_id in data and not data.startswith(b"SIP/2.0 1"):
                return int(data.split(b" ", 2)[1])
        pytest.fail(f"no answer in {BOUND_S} s")

    def _core_answer(self, request: bytes) -> bytes:
        """Challenge what an I-CSCF sends, accept what a P-CSCF sends."""
        copied = (b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:", b"Contact:", b"Record-Route:")
        lines = [line for line in request.split(b"\r\n") if line.startswith(copied)]
        lines = [line + b";tag=core" if line.startswith(b"To:") else line for line in lines]
        start, body = b"SIP/2.0 401 Unauthorized", b""
        if self._name == "pcscf":
            start = b"SIP/2.0 200 OK"
            lines += [b"Service-Route: <sip:orig@%s;lr>" % CORE[0].encode(), b"P-Associated-URI: <sip:alice@ims.test>"]
            if request.startswith(b"INVITE"):
                lines.append(b"Content-Type: application/sdp")
                body = SDP.replace("\n", "\r\n").encode()
        return b"\r\n".join([start, *lines, b"Content-Length: %d" % len(body), b"", body])


@pytest.fixture(scope="module", params=["icscf", "scscf", "pcscf"])
def scene(request: pytest.FixtureRequest, start_node: Callable[..., Any]) -> Iterator[tuple[str, Peer, Neighbours]]:
    name = request.param
    peer = Peer(APPLICATIONS[name])
    try:
        with start_node(name, SETTINGS[name] + LISTEN) as node:
            node.wait_for(" ready ")
            neighbours = Neighbours(name)
            yield name, peer, neighbours
            neighbours.close()
    finally:
        peer.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_trouble_passes(scene: tuple[str, Peer, Neighbours], damage: str) -> None:
    name, peer, neighbours = scene
    well = 200 if name == "pcscf" else 401
    in_trouble = well if name == "pcscf" or damage == OTHER_APPLICATION else 504  # media authorisation is best effort
    peer.damage = DAMAGES[damage]
    assert neighbours.ask() == in_trouble
    peer.damage = None
    before = peer.well_answered
    deadline = time.monotonic() + 10
    while neighbours.ask() != well or peer.well_answered == before:
        assert time.monotonic() < deadline, "the node did not find its peer again"
        time.sleep(0.1)  # a UE that tries again
