"""Three cores joined in memory: the real stacks and runtimes, a wire that is a queue, a clock that a test moves.

The HSS and PCRF are played by answering questions; the UEs by sending and reading messages.
"""

import binascii
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from opencscf.common.actions import Question, Save
from opencscf.common.config import load
from opencscf.common.errors import PeerUnavailable
from opencscf.common.events import Core
from opencscf.common.ids import Ids
from opencscf.common.ims.aka import Agreement, AuthVector, SyncFailure, Usim, make_vector, next_sqn, verify_auts
from opencscf.common.node.clock import FakeClock, TimerWheel
from opencscf.common.node.runtime import Asker, Due, Reply, Runtime
from opencscf.common.sip import digest
from opencscf.common.sip.exchange import Target
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.headers import Challenge, Via
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.proxy import OwnUris
from opencscf.common.sip.stack import SipStack
from opencscf.common.sip.timers import TimerValues
from opencscf.common.sip.uri import SipUri
from opencscf.diameter.cx import (
    LocationInfoAnswer,
    LocationInfoRequest,
    MultimediaAuthAnswer,
    MultimediaAuthRequest,
    ServerAssignmentAnswer,
    ServerAssignmentRequest,
    ServerAssignmentType,
    UserAuthorizationAnswer,
    UserAuthorizationRequest,
)
from opencscf.diameter.results import Result
from opencscf.diameter.rx import AaAnswer, AaRequest, SessionTerminationAnswer, SessionTerminationRequest
from opencscf.icscf.config import IcscfConfig
from opencscf.icscf.core import ICscf
from opencscf.pcscf.config import PcscfConfig
from opencscf.pcscf.core import PCscf
from opencscf.scscf.config import ScscfConfig
from opencscf.scscf.core import SCscf

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
P, I, S = ("127.0.1.10", 5060), ("127.0.1.11", 5060), ("127.0.1.12", 5060)  # noqa: E741 - the interface's own names
K = bytes.fromhex("fec86ba6eb707ed08905757b1bb44b8f")  # TS 35.208 set 3
OPC = bytes.fromhex("1006020f0a478bf6b699f15c062e42b3")
AMF = bytes.fromhex("8000")

_SIP = """
[sip]
listen = [{{ address = "{0}", port = 5060, transports = ["udp"] }}]
[sip.hosts]
"scscf.{domain}" = "127.0.1.12"
"icscf.{domain}" = "127.0.1.11"
"""
_DIAMETER = """
[{table}]
origin_host = "{name}.{domain}"
origin_realm = "{domain}"
destination_realm = "{domain}"
peers = [{{ host = "peer.{domain}", address = "127.0.1.14" }}]
"""
_NODES = {
    "pcscf": 'visited_network = "{domain}"\nicscf = "sip:icscf.{domain}:5060"\n',
    "icscf": 'domain = "{domain}"\n[[icscf.scscf]]\nname = "sip:scscf.{domain}:5060"\n',
    "scscf": 'domain = "{domain}"\nserver_name = "sip:scscf.{domain}:5060"\nicscf = "sip:icscf.{domain}:5060"\n',
}


class Hss:
    """The answers of an HSS for subscribers 001010000000001 and following, whose numbers are 1555000000n."""

    def __init__(self) -> None:
        self.sqn: dict[str, int] = {}
        self.servers: dict[str, str] = {}  # by IMPI
        self.asked: list[Question[Any]] = []
        self.is_down = False

    @staticmethod
    def impi_of(impu: str) -> str | None:
        user = impu.partition(":")[2].partition("@")[0].lstrip("+")
        if user.startswith("1555"):
            user = f"00101{int(user[4:]):010}"
        return f"{user}@{DOMAIN}" if user.startswith("00101") and user != "001010000000009" else None

    def profile(self, impi: str) -> bytes:
        imsi = impi.partition("@")[0]
        number = f"1555{int(imsi[5:]):07}"
        identities = (f"sip:{number}@{DOMAIN}", f"tel:+{number}", f"sip:{imsi}@{DOMAIN}")
        rows = "".join(
            f"<PublicIdentity><BarringIndication>{int(i.startswith(f'sip:{imsi}'))}</BarringIndication>"
            f"<Identity>{i}</Identity></PublicIdentity>"
            for i in identities
        )
        text = (
            f"<IMSSubscription><PrivateID>{impi}</PrivateID><ServiceProfile>{rows}</ServiceProfile></IMSSubscription>"
        )
        return text.encode()

    def vector(self, impi: str) -> AuthVector:
        self.sqn[impi] = next_sqn(self.sqn.get(impi, 0))
        return make_vector(K, OPC, self.sqn[impi], AMF, bytes([len(self.asked) % 250 + 1]) * 16)

    def answer(self, question: Question[Any], reply: Reply) -> None:
        self.asked.append(question)
        reply(PeerUnavailable("hss", "no answer in 4 s") if self.is_down else self._answer(question))

    def _answer(self, question: Question[Any]) -> object:
        match question:
            case UserAuthorizationRequest(impi=impi, impu=impu):
                if self.impi_of(impu) != impi:
                    return UserAuthorizationAnswer(Result.USER_UNKNOWN)
                server = self.servers.get(impi)
                if server is None:
                    return UserAuthorizationAnswer(Result.FIRST_REGISTRATION)
                return UserAuthorizationAnswer(Result.SUBSEQUENT_REGISTRATION, server)
            case MultimediaAuthRequest(impi=impi, resync=resync):
                if resync is not None:
                    sqn_ms = verify_auts(K, OPC, resync[:16], resync[16:])
                    assert sqn_ms is not None
                    self.sqn[impi] = sqn_ms
                return MultimediaAuthAnswer(Result.SUCCESS, (self.vector(impi),))
            case ServerAssignmentRequest(impi=impi, impu=impu, server_name=name, assignment_type=kind):
                impi = impi or self.impi_of(impu)
                assert impi is not None
                if kind in {ServerAssignmentType.REGISTRATION, ServerAssignmentType.RE_REGISTRATION}:
                    self.servers[impi] = name
                    return ServerAssignmentAnswer(Result.SUCCESS, self.profile(impi))
                self.servers.pop(impi, None)
                return ServerAssignmentAnswer(Result.SUCCESS)
            case LocationInfoRequest(impu=impu):
                owner = self.impi_of(impu)
                if owner is None:
                    return LocationInfoAnswer(Result.USER_UNKNOWN)
                server = self.servers.get(owner)
                return LocationInfoAnswer(Result.SUCCESS, server) if server else LocationInfoAnswer(
                    Result.IDENTITY_NOT_REGISTERED
                )  # fmt: skip
        raise AssertionError(question)


class Pcrf:
    """Opens and closes Rx sessions."""

    def __init__(self) -> None:
        self.open: dict[str, AaRequest] = {}
        self.asked: list[Question[Any]] = []
        self.is_down = False
        self.is_slow = False  # keeps its answers back until `catch_up`
        self.result = Result.SUCCESS
        self._late: list[tuple[Question[Any], Reply]] = []

    def catch_up(self) -> None:
        """Give the answers that were kept back."""
        self.is_slow = False
        late, self._late = self._late, []
        for question, reply in late:
            self._answer(question, reply)

    def answer(self, question: Question[Any], reply: Reply) -> None:
        self.asked.append(question)
        if self.is_slow:
            self._late.append((question, reply))
        else:
            self._answer(question, reply)

    def _answer(self, question: Question[Any], reply: Reply) -> None:
        if self.is_down:
            reply(PeerUnavailable("pcrf", "not connected"))
        elif isinstance(question, AaRequest):
            if self.result.is_success:
                self.open[question.session_id] = question
            reply(AaAnswer(self.result))
        elif isinstance(question, SessionTerminationRequest):
            known = self.open.pop(question.session_id, None)
            reply(SessionTerminationAnswer(Result.SUCCESS if known else Result.UNKNOWN_SESSION_ID))


@dataclass
class Phone:
    """A UE: its SIM, its socket, and every message it got, oldest first."""

    network: "Network"
    number: int
    address: tuple[str, int]
    usim: Usim = field(init=False)
    inbox: list[Message] = field(default_factory=list)
    service_route: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.imsi = f"00101{self.number:010}"
        self.impi = f"{self.imsi}@{DOMAIN}"
        self.tel = f"tel:+1555{self.number:07}"
        self.contact = f"sip:{self.imsi}@{self.address[0]}:{self.address[1]}"
        self.usim = Usim(K, OPC)
        self.instance = ""  # +sip.instance of its Contact
        self.flow = ""  # and reg-id
        self.q = ""  # and q
        self.headers: tuple[tuple[str, str], ...] = ()  # what it adds to its REGISTERs
        self._serial = 0

    # ------------------------------------------------------------------ sending

    def send(self, message: Message) -> None:
        self.network.put(bytes(message), self.address, P)

    def request(self, method: str, uri: str, *headers: tuple[str, str], **parts: Any) -> Request:
        """Build a request with a Via of its own; `cseq`, `call_id`, `from_`, `to`, `body` may be given."""
        self._serial += 1
        body = parts.get("body", b"")
        host, port = self.address
        return Request.new(
            method, uri,
            [
                ("Via", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bK{self.number}.{self._serial};rport"),
                ("Max-Forwards", "70"),
                ("From", parts.get("from_") or f"<sip:{self.impi}>;tag=f{self.number}"),
                ("To", parts.get("to") or f"<{uri}>"),
                ("Call-ID", parts.get("call_id") or f"call-{self.number}-{self._serial}"),
                ("CSeq", f"{parts.get('cseq', self._serial)} {method}"),
                *headers,
            ],
            body, "application/sdp" if body else "",
        )  # fmt: skip

    def register(self, expires: int = 3600, authorization: str = "", call_id: str = "reg") -> Response:
        """Send one REGISTER and return its final response."""
        blank = f'Digest username="{self.impi}",realm="{DOMAIN}",uri="sip:{DOMAIN}",nonce="",response=""'
        params = f';+sip.instance="{self.instance}"' if self.instance else ""
        params += f";reg-id={self.flow}" if self.flow else ""
        params += f";q={self.q}" if self.q else ""
        self.send(
            self.request(
                "REGISTER", f"sip:{DOMAIN}",
                ("Contact", f"<{self.contact}>;expires={expires}" + params),
                ("Authorization", authorization or blank),
                ("Supported", "path"), *self.headers,
                to=f"<sip:{self.impi}>", call_id=f"{call_id}-{self.number}",
            )
        )  # fmt: skip
        self.network.run()
        response = self.inbox[-1]
        assert isinstance(response, Response)
        return response

    def authorization(self, challenge: Response, *, key: bytes | None = None) -> str:
        """Answer a 401 as the USIM tells: a response, auts, or an empty response to a network it does not trust."""
        text = challenge.get("WWW-Authenticate")
        assert text is not None
        nonce = Challenge.parse(text).get("nonce") or ""
        rand, autn = digest.parse_aka_nonce(nonce)
        usim = Usim(key, OPC) if key else self.usim
        result = usim.challenge(rand, autn)
        parts: dict[str, Any] = {
            "username": self.impi, "realm": DOMAIN, "uri": f"sip:{DOMAIN}", "nonce": nonce,
            "qop": "auth", "nc": "00000001", "cnonce": "c",
        }  # fmt: skip
        match result:
            case Agreement(res=res):
                response = digest.response(method="REGISTER", password=res, algorithm="AKAv1-MD5", **parts)
                extra = ""
            case SyncFailure(auts=auts):
                response = digest.response(method="REGISTER", password=b"", algorithm="AKAv1-MD5", **parts)
                extra = f',auts="{binascii.b2a_base64(auts, newline=False).decode()}"'
            case _:
                response, extra = "", ""
        return (
            f'Digest username="{self.impi}",realm="{DOMAIN}",nonce="{nonce}",uri="sip:{DOMAIN}",response="{response}",'
            f'algorithm=AKAv1-MD5,qop=auth,nc=00000001,cnonce="c"{extra}'
        )

    def go_online(self, expires: int = 3600) -> Response:
        """Register with IMS-AKA and remember what the network said."""
        challenge = self.register(expires)
        assert challenge.status == 401, challenge.start_line
        done = self.register(expires, self.authorization(challenge))
        if done.status == 200:
            self.service_route = done.values("Service-Route")
            self.identities = [value.strip("<>") for value in done.values("P-Associated-URI")]
        return done

    def invite(self, uri: str, *headers: tuple[str, str], **parts: Any) -> Request:
        """Send an INVITE by way of the P-CSCF and the Service-Route, and return it."""
        routes = ", ".join([f"<sip:{P[0]}:{P[1]};lr>", *self.service_route])
        message = self.request(
            "INVITE", uri, ("Route", routes), ("Contact", f"<{self.contact}>"), *headers, **{"body": OFFER, **parts}
        )
        self.send(message)
        self.network.run()
        return message

    # ------------------------------------------------------------------ receiving

    def requests(self, method: str) -> list[Request]:
        return [message for message in self.inbox if isinstance(message, Request) and message.method == method]

    def statuses(self, method: str) -> list[int]:
        return [m.status for m in self.inbox if isinstance(m, Response) and m.cseq.method == method]

    def last(self, method: str) -> Response:
        return [m for m in self.inbox if isinstance(m, Response) and m.cseq.method == method][-1]

    def answer(self, request: Request, status: int, body: bytes = b"", *headers: tuple[str, str]) -> None:
        response = Response.to_request(
            request, status, to_tag=f"t{self.number}", body=body, content_type="application/sdp" if body else "",
            headers=[
                *[("Record-Route", value) for value in request.get_all("Record-Route")],
                ("Contact", f"<{self.contact}>"),
                *headers,
            ],
        )  # fmt: skip
        self.send(response)
        self.network.run()

    def cancel(self, invite: Request) -> None:
        """Cancel an INVITE (RFC 3261 9.1)."""
        headers = [("Via", invite.values("Via")[0]), ("Max-Forwards", "70"), ("CSeq", f"{invite.cseq.number} CANCEL")]
        headers += [(name, invite.get(name) or "") for name in ("Route", "From", "To", "Call-ID")]
        self.send(Request.new("CANCEL", invite.uri, headers))
        self.network.run()

    def in_dialog(
        self, method: str, invite: Request, final: Response, *headers: tuple[str, str], **parts: Any
    ) -> Request:
        """Send a request of the caller within the dialog of its INVITE, and return it."""
        message = self.request(
            method, final.contacts[0].uri,
            ("Route", ", ".join(reversed(final.values("Record-Route")))),
            *headers,
            from_=invite.get("From"), to=final.get("To"), call_id=invite.call_id,
            **({"cseq": invite.cseq.number} if method == "ACK" else {}), **parts,
        )  # fmt: skip
        self.send(message)
        self.network.run()
        return message

    def in_dialog_of(self, method: str, invite: Request, *headers: tuple[str, str], **parts: Any) -> Request:
        """Send a request of the callee within the dialog of the INVITE it got, and return it."""
        message = self.request(
            method, invite.contacts[0].uri,
            ("Route", ", ".join(invite.values("Record-Route"))),
            *headers,
            **{
                "from_": f"{invite.get('To')};tag=t{self.number}", "to": invite.get("From"), "call_id": invite.call_id,
                **parts,
            },
        )  # fmt: skip
        self.send(message)
        self.network.run()
        return message


OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.2.1\r\ns=-\r\nc=IN IP4 127.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 104\r\nb=AS:41\r\na=rtpmap:104 AMR-WB/16000/1\r\na=sendrecv\r\n"
)
ANSWER = OFFER.replace(b"127.0.2.1", b"127.0.2.2").replace(b"40000", b"40002")


class _Wire:
    """Where one node's messages leave."""

    def __init__(self, network: "Network", address: tuple[str, int]) -> None:
        self._network = network
        self._address = address

    def send(self, data: bytes, target: Target) -> None:
        hop = target.hop if isinstance(target, Flow) else target
        self._network.put(data, self._address, (hop.host, hop.port))

    def is_open(self, flow: Flow) -> bool:
        return True


class _Resolver:
    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        self._hosts = hosts

    def failed(self, hop: Hop) -> None:
        pass

    def lookup_sent_by(self, via: Via, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        callback(PeerUnavailable(via.host, "not found"))

    def lookup(self, uri: SipUri, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        host = self._hosts.get(uri.host, [uri.host])[0]
        if not host.replace(".", "").isdecimal():
            callback(PeerUnavailable(uri.host, "not found"))
        else:
            callback((Hop(Transport.UDP, host, uri.port or 5060),))


class Network:
    """The wire, the clock, the three nodes and the phones."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(1_800_000_000.0)
        self.hss = Hss()
        self.pcrf = Pcrf()
        self.lines: list[tuple[str, str, str, dict[str, object]]] = []  # node, level, event, fields
        self.wire: list[tuple[tuple[str, int], tuple[str, int], Message]] = []  # every message, in order
        self.store: dict[tuple[str, str], dict[str, Any]] = {}
        self.lost: Callable[[Message], bool] = lambda message: False
        self.settings: dict[str, str] = {}  # what a node is told beside the usual when it is started anew
        self._queue: deque[tuple[bytes, tuple[str, int], tuple[str, int]]] = deque()
        self._nodes: dict[tuple[str, int], Runtime] = {}
        self._phones: dict[tuple[str, int], Phone] = {}
        self._folder = folder
        for name in _NODES:
            self.start(name)

    def phone(self, number: int) -> Phone:
        address = (f"127.0.2.{number}", 5060)
        return self._phones.setdefault(address, Phone(self, number, address))

    def start(self, name: str) -> None:
        """Start a node, or start it anew: only what it saved is left."""
        config, address, core = self._core(name)
        asks: dict[type[Question[Any]], Asker] = {
            Save: self._save,
            AaRequest: self.pcrf.answer,
            SessionTerminationRequest: self.pcrf.answer,
        }
        cx = (UserAuthorizationRequest, MultimediaAuthRequest, ServerAssignmentRequest, LocationInfoRequest)
        asks |= dict.fromkeys(cx, self.hss.answer)
        wheel: TimerWheel[Due] = TimerWheel(0.1, start=self.clock.now())
        stack = SipStack(
            ids=Ids(),
            timers=TimerValues(),
            local_for=lambda target: address,
            towards_ue=TimerValues(t1=2.0, t2=16.0, t4=17.0),
            is_from_ue=core.is_from_ue if isinstance(core, PCscf) else None,
        )
        self._nodes[address] = Runtime(
            core=core, stack=stack, wire=_Wire(self, address), resolver=_Resolver(config.sip.hosts), askers=asks,
            wheel=wheel, clock=self.clock, log=_NodeLog(self, name),
        )  # fmt: skip
        self._nodes[address].start()

    def _core(self, name: str) -> tuple[Any, tuple[str, int], Core]:
        address = {"pcscf": P, "icscf": I, "scscf": S}[name]
        table = "rx" if name == "pcscf" else "cx"
        text = (_SIP + _DIAMETER + f"[{name}]\n" + self.settings.get(name, "") + _NODES[name]).format(
            address[0], domain=DOMAIN, name=name, table=table
        )
        path = self._folder / f"{name}.toml"
        path.write_text(text)
        own = OwnUris.of([address, (f"{name}.{DOMAIN}", 5060)])
        restored = [(key, value) for (kind, key), value in self.store.items() if kind == self._kinds().get(name)]
        match name:
            case "pcscf":
                pcscf = load(path, PcscfConfig)
                return pcscf, address, PCscf(pcscf, own, Ids(), restored)
            case "icscf":
                icscf = load(path, IcscfConfig)
                return icscf, address, ICscf(icscf, own, Ids())
            case _:
                scscf = load(path, ScscfConfig)
                return scscf, address, SCscf(scscf, own, Ids(), restored)

    @staticmethod
    def _kinds() -> dict[str, str]:
        return {"pcscf": "binding", "scscf": "registration"}

    def _save(self, question: Save, reply: Reply) -> None:
        if question.value is None:
            self.store.pop((question.kind, question.key), None)
        else:
            self.store[question.kind, question.key] = question.value
        reply(None)

    # ------------------------------------------------------------------ the wire

    def put(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        message = parse(data)
        if not self.lost(message):
            self.wire.append((source, target, message))
            self._queue.append((data, source, target))

    def run(self) -> None:
        """Deliver until nothing is under way."""
        while self._queue:
            data, source, target = self._queue.popleft()
            message = parse(data)
            node = self._nodes.get(target)
            if node is not None:
                node.receive(message, Flow(Transport.UDP, target, source))
            elif target in self._phones:
                self._phones[target].inbox.append(message)

    def pass_time(self, seconds: float) -> None:
        """Let time pass in the nodes, delivering what they send."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            for node in self._nodes.values():
                node.tick()
            self.run()

    # ------------------------------------------------------------------ what tests look at

    def path_of(self, method: str) -> list[str]:
        """Who sent each request of a method to whom, such as "UE1>P"."""
        return [
            f"{self.name_of(source)}>{self.name_of(target)}"
            for source, target, message in self.wire
            if isinstance(message, Request) and message.method == method
        ]

    def sent_to(self, name: str, method: str) -> list[Request]:
        return [
            message
            for _, target, message in self.wire
            if isinstance(message, Request) and message.method == method and self.name_of(target) == name
        ]

    @staticmethod
    def name_of(address: tuple[str, int]) -> str:
        return {P: "P", I: "I", S: "S"}.get(address) or f"UE{address[0].rpartition('.')[2]}"


class _NodeLog:
    def __init__(self, network: Network, node: str) -> None:
        self._network = network
        self._node = node

    def event(self, level: str, event: str, **fields: object) -> None:
        self._network.lines.append((self._node, level, event, fields))

    def message(self, direction: str, message: Message, target: Target) -> None:
        pass


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)
