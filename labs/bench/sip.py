"""What a message costs: CPU time of the pure parts, from bytes to bytes, without sockets and without a core.

Each figure is the best of several rounds, with Python's cyclic garbage collection held off, so that two runs compare.
They are lower bounds: in a node, other work takes the processor's caches in between, and system calls come on top.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from opencscf.common.actions import Branch, Forward
from opencscf.common.ids import Ids
from opencscf.common.native import PURE_VARIABLE
from opencscf.common.sip import proxy
from opencscf.common.sip.exchange import Exchange, Leg, Target
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.head import scanner
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.response_path import note_source
from opencscf.common.sip.stack import SipStack
from opencscf.common.sip.timers import Timer, TimerValues
from opencscf.diameter import dictionary
from opencscf.diameter.codec import PROXIABLE, REQUEST, decode, encode_avps, encode_header
from opencscf.diameter.cx import UserAuthorizationAnswer, UserAuthorizationRequest
from opencscf.diameter.dictionary import Application
from opencscf.diameter.peer import LocalNode
from opencscf.diameter.peer_connection import application_avps
from opencscf.diameter.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

ITERATIONS: Final = 400  # in a round
ROUNDS: Final = 12
MAX_SECONDS: Final = 0.8  # for one figure; a slow machine gets fewer rounds

DOMAIN: Final = "ims.mnc001.mcc001.3gppnetwork.org"
LOCAL: Final = ("192.0.2.10", 5060)
UE: Final = Flow(Transport.UDP, LOCAL, ("192.0.2.101", 5060))
OWN: Final = proxy.OwnUris.of([LOCAL])
NEXT_HOP: Final = Hop(Transport.UDP, "192.0.2.11", 5060)

_REGISTER: Final = f"""\
REGISTER sip:{DOMAIN} SIP/2.0
Via: SIP/2.0/UDP 192.0.2.101:5060;branch=z9hG4bKreg1;rport
Max-Forwards: 70
From: <sip:001010000000001@{DOMAIN}>;tag=f1
To: <sip:001010000000001@{DOMAIN}>
Call-ID: reg-1@192.0.2.101
CSeq: 1 REGISTER
Contact: <sip:001010000000001@192.0.2.101:5060>;expires=600000;+g.3gpp.smsip
Authorization: Digest username="001010000000001@{DOMAIN}",realm="{DOMAIN}",uri="sip:{DOMAIN}",nonce="",response=""
Supported: path, gruu
Require: sec-agree
Security-Client: ipsec-3gpp;alg=hmac-sha-1-96;ealg=null;prot=esp;mod=trans;spi-c=1111;spi-s=2222;port-c=5064;port-s=5065
P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=0010100010000019B
User-Agent: bench
Content-Length: 0

"""

_SDP: Final = """\
v=0
o=- 1 1 IN IP4 192.0.2.101
s=-
c=IN IP4 192.0.2.101
t=0 0
m=audio 49170 RTP/AVP 104 110 102 108 105 100
b=AS:41
a=rtpmap:104 AMR-WB/16000/1
a=fmtp:104 mode-change-capability=2;max-red=0
a=rtpmap:102 AMR/8000/1
a=fmtp:102 mode-change-capability=2;max-red=0
a=rtpmap:105 telephone-event/16000
a=rtpmap:100 telephone-event/8000
a=curr:qos local none
a=curr:qos remote none
a=des:qos mandatory local sendrecv
a=des:qos optional remote sendrecv
a=ptime:20
a=maxptime:240
a=sendrecv
"""

_INVITE: Final = f"""\
INVITE tel:+15550000002 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.101:5060;branch=z9hG4bKinv1;rport
Max-Forwards: 70
Route: <sip:192.0.2.10:5060;lr>, <sip:orig@scscf.{DOMAIN}:5060;lr>
From: <sip:+15550000001@{DOMAIN}>;tag=f1
To: <tel:+15550000002>
Call-ID: call-1@192.0.2.101
CSeq: 1 INVITE
Contact: <sip:001010000000001@192.0.2.101:5060>;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"
P-Preferred-Identity: <sip:+15550000001@{DOMAIN}>
P-Preferred-Service: urn:urn-7:3gpp-service.ims.icsi.mmtel
P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=0010100010000019B
Accept-Contact: *;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"
Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, REFER, NOTIFY, MESSAGE, OPTIONS
Supported: 100rel, timer, precondition
Session-Expires: 1800;refresher=uac
User-Agent: bench
Content-Type: application/sdp
Content-Length: {len(_SDP) + _SDP.count(chr(10))}

{_SDP}"""

_OK: Final = f"""\
SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1.1
Via: SIP/2.0/UDP 192.0.2.101:5060;branch=z9hG4bKinv1;rport=5060;received=192.0.2.101
Record-Route: <sip:mt@192.0.2.12:5060;lr>
Record-Route: <sip:mo@192.0.2.12:5060;lr>
From: <sip:+15550000001@{DOMAIN}>;tag=f1
To: <tel:+15550000002>;tag=t1
Call-ID: call-1@192.0.2.101
CSeq: 1 INVITE
Contact: <sip:001010000000002@192.0.2.102:5060>
Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, REFER, NOTIFY, MESSAGE, OPTIONS
Content-Type: application/sdp
Content-Length: {len(_SDP) + _SDP.count(chr(10))}

{_SDP}"""

_MESSAGE: Final = f"""\
MESSAGE sip:+15550000002@{DOMAIN} SIP/2.0
Via: SIP/2.0/UDP 192.0.2.101:5060;branch=z9hG4bKmsg@NUMBER@;rport
Max-Forwards: 70
From: <sip:+15550000001@{DOMAIN}>;tag=f1
To: <sip:+15550000002@{DOMAIN}>
Call-ID: msg-@NUMBER@@192.0.2.101
CSeq: 1 MESSAGE
Content-Length: 0

"""


PURE: Final = "Python"
NATIVE: Final = "C twin"
NOT_BUILT: Final = "no C twin of the message layer: it was not built (docs/operations.md, Install), or not wanted"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured, and with what."""

    interpreter: str
    cpu_us: dict[str, dict[str, float]]  # by form, PURE first, then by piece of work

    def table(self) -> str:
        """Write the figures for a person."""
        forms = list(self.cpu_us.values())
        rows = "".join(f"{name:<46}{''.join(f'{form[name]:>10.1f}' for form in forms)}\n" for name in forms[0])
        titles = "".join(f"{form:>10}" for form in self.cpu_us)
        note = "" if NATIVE in self.cpu_us else f"{NOT_BUILT}\n"
        return f"{self.interpreter}\n{'CPU us':<46}{titles}\n{rows}{note}"

    def json(self) -> str:
        """Write the figures for a program."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def measure(iterations: int = ITERATIONS, rounds: int = ROUNDS) -> Figures:
    """Measure everything in the form that this process has; takes some seconds."""
    works: dict[str, Callable[[], object]] = {
        **{f"{', '.join(steps)} {name}": _work(steps, data) for steps in STEPS for name, data in MESSAGES.items()},
        "MESSAGE and 200 through the stack, to its end": ProxiedTransaction(),
        "UAR encode": uar,
        "UAA decode": _uaa_decoding(),
    }
    figures = {name: round(_cpu_us(work, iterations, rounds), 2) for name, work in works.items()}
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    return Figures(interpreter, {PURE if scanner is None else NATIVE: figures})


def measure_both() -> Figures:
    """Measure what there is: the C twin here, and the Python form in a process that does without twins."""
    here = measure()
    if NATIVE not in here.cpu_us:
        return here
    command = [sys.executable, "-P", "-m", "opencscf.labs.cli", "bench", "sip", "--json"]
    environment = os.environ | {PURE_VARIABLE: "1"}
    pure = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    return Figures(here.interpreter, json.loads(pure)["cpu_us"] | here.cpu_us)


def run(*, as_json: bool) -> None:
    """Measure and print."""
    figures = measure_both()
    sys.stdout.write(figures.json() if as_json else figures.table())


def _cpu_us(work: Callable[[], object], iterations: int, rounds: int) -> float:
    best, until, is_collecting = float("inf"), time.monotonic() + MAX_SECONDS, gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            begin = time.thread_time()
            for _ in range(iterations):
                work()
            best = min(best, (time.thread_time() - begin) / iterations)
            if time.monotonic() > until:
                break
    finally:
        if is_collecting:
            gc.enable()
    return best * 1e6


# ---------------------------------------------------------------------- messages


def _wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


MESSAGES: Final = {"REGISTER": _wire(_REGISTER), "INVITE": _wire(_INVITE), "200": _wire(_OK)}


STEPS: Final = (
    ("parse",),
    ("parse", "inspect"),
    ("parse", "inspect", "forward"),
    ("parse", "inspect", "forward", "serialise"),
)  # each row has what the one above has, so that nothing is measured on a message that was read before


def _work(steps: tuple[str, ...], data: bytes) -> Callable[[], object]:
    match len(steps):
        case 1:
            return lambda: parse(data)
        case 2:
            return lambda: inspected(data)
        case 3:
            return lambda: forwarded(data)
        case _:
            return lambda: bytes(forwarded(data))


def inspected(data: bytes) -> Request | Response:
    """Read of a message what every proxy reads."""
    message = parse(data)
    message.flow = UE
    _ = message.from_tag, message.to_tag, message.call_id, message.cseq, message.contacts
    if isinstance(message, Request):
        note_source(message)
        proxy.validate(message)
    else:
        _ = message.via.branch
    return message


def forwarded(data: bytes) -> Message:
    """Do to a message what every proxy does, without its memory of transactions."""
    message = inspected(data)
    return _passed_on(message) if isinstance(message, Request) else _passed_back(message)


def _passed_on(request: Request) -> Request:
    copy = request.copy()
    proxy.strip_own_routes(copy, OWN)
    proxy.count_down_max_forwards(copy)
    copy.prepend("Record-Route", "<sip:mo@192.0.2.10:5060;lr>")
    copy.prepend("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1.1")
    return copy


def _passed_back(response: Response) -> Response:
    copy = response.copy()
    copy.remove_first_value("Via")
    return copy


# ---------------------------------------------------------------------- a transaction


class ProxiedTransaction:
    """A MESSAGE proxied statefully and answered with 200, parsed and serialised each time, until its timers end."""

    def __init__(self) -> None:
        self.stack = SipStack(ids=Ids(), timers=TimerValues(), local_for=lambda _: LOCAL)
        self.stack.sink = self
        self._numbers = count(1)
        self._sent: list[bytes] = []
        self._timers: list[tuple[Exchange | Leg, Timer, float]] = []

    def __call__(self) -> bytes:
        """Run one transaction and return the response that its sender gets."""
        stack = self.stack
        request = parse(_wire(_MESSAGE.replace("@NUMBER@", str(next(self._numbers)))))
        request.flow = UE
        stack.receive(request, 0.0)
        answer = parse(bytes(_answer_to(parse(self._sent.pop()))))
        answer.flow = Flow(Transport.UDP, LOCAL, (NEXT_HOP.host, NEXT_HOP.port))
        stack.receive(answer, 0.0)
        timers, self._timers = self._timers, []
        for owner, timer, delay_s in timers:
            stack.on_timer(owner, timer, delay_s)
        return self._sent.pop()

    # What the stack wants

    def send(self, data: bytes, target: Target, message: Message | None) -> None:
        """Keep what would be sent."""
        self._sent.append(data)

    def start_timer(self, owner: Exchange | Leg, timer: Timer, delay_s: float) -> None:
        """Keep a timer until the end."""
        self._timers.append((owner, timer, delay_s))

    def to_core(self, request: Request) -> None:
        """Forward, as a core would decide."""
        self.stack.forward(Forward((Branch(request.copy()),)), [(NEXT_HOP,)], 0.0)

    def decide(self, exchange: Exchange, response: Response, *, is_final: bool) -> None:
        """Decide nothing: no response handler is given."""

    def abandon(self, exchange: Exchange) -> None:
        """Hear of nobody who waits."""

    def next_target(self, request: Request, failed: Target, reason: str, target: Target) -> None:
        """Hear of no failure."""


def _answer_to(request: Message) -> Response:
    assert isinstance(request, Request)  # noqa: S101  it was forwarded
    return Response.to_request(request, 200, to_tag="t1")


# ---------------------------------------------------------------------- Cx


_COMMON_AVPS: Final = encode_avps(
    [
        dictionary.SESSION_ID.text(f"icscf.{DOMAIN};1;1"),
        *application_avps(Application.CX),
        *LocalNode(f"icscf.{DOMAIN}", DOMAIN, Application.CX).origin(),
        dictionary.DESTINATION_REALM.text(DOMAIN),
    ]
)
_UAR: Final = UserAuthorizationRequest(f"001010000000001@{DOMAIN}", f"sip:001010000000001@{DOMAIN}", DOMAIN)
_UAA: Final = UserAuthorizationAnswer(Result.SUBSEQUENT_REGISTRATION, f"sip:scscf.{DOMAIN}:5060")


def uar() -> bytes:
    """Write a whole User-Authorization-Request."""
    body = _COMMON_AVPS + _UAR.encode()
    return encode_header(_UAR.command, Application.CX, REQUEST | PROXIABLE, 1, 1, len(body)) + body


def uaa(data: bytes) -> UserAuthorizationAnswer:
    """Read a whole User-Authorization-Answer."""
    return _UAR.read_answer(decode(data).avps)


def _uaa_decoding() -> Callable[[], object]:
    body = _COMMON_AVPS + _UAA.encode()
    answer = encode_header(_UAR.command, Application.CX, PROXIABLE, 1, 1, len(body)) + body
    return lambda: uaa(answer)
