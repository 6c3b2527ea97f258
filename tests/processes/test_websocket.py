"""Browsers' transport through the real processes: two UEs on WebSocket, P-CSCF to I-CSCF over TLS, the rest as ever.

The UEs are on the `websockets` library, and what they say is written out here, with contacts as a browser has them
(RFC 7118 appendix A): a host that does not exist.
"""

import asyncio
import contextlib
import json
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from opencscf.common.ims.aka import Agreement, Usim
from opencscf.common.ims.milenage import derive_opc
from opencscf.common.sip import digest
from opencscf.common.sip.headers import Challenge
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import parse
from opencscf.labs import render
from opencscf.labs.config import LabSettings, load_lab
from opencscf.labs.processes import ProcessGroup

NET = "127.0.22"
K = bytes.fromhex("465b5ce8b199b49faa5f0a2ee238a6bc")  # TS 35.208 set 1
OPC = derive_opc(K, bytes.fromhex("cdc202d5123e20f62b6d676ac72cb318"))
LAB = f"""
[network]
mcc = "001"
mnc = "01"
pcscf = "{NET}.10"
icscf = "{NET}.11"
scscf = "{NET}.12"
hss = "{NET}.14"
pcrf = "{NET}.15"
[ue]
addresses = ["127.0.4.1", "127.0.4.2"]
[[subscriber]]
imsi = "001010000000001"
msisdn = "15550000001"
k = "{K.hex()}"
opc = "{OPC.hex()}"
[[subscriber]]
imsi = "001010000000002"
msisdn = "15550000002"
k = "{K.hex()}"
opc = "{OPC.hex()}"
"""
PAGE = Origin("https://phone.example")
PORTS = {"ws": 8088, "wss": 8443}
LISTEN = '[[sip.listen]]\naddress = "{address}"\nport = {port}\ntransports = ["{transport}"]\n\n'
TLS = '[sip.tls]\ncertificate = "own.pem"\nkey = "own.key"\nca = "own.pem"\n\n'


def configure(directory: Path) -> LabSettings:
    """Write a lab's files, with TLS between P-CSCF and I-CSCF, and listeners for browsers."""
    (directory / "lab.toml").write_text(LAB)
    settings = load_lab(directory / "lab.toml")
    render.write(settings, directory)
    icscf = f"icscf.{settings.network.domain}"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=own", "-keyout", "own.key", "-out", "own.pem",
         "-addext", f"subjectAltName=IP:{NET}.10,DNS:{icscf}"],
        check=True, capture_output=True, cwd=directory,
    )  # fmt: skip
    listeners = {
        "pcscf": [("ws", PORTS["ws"]), ("wss", PORTS["wss"]), ("tls", 5061)],
        "icscf": [("tls", 5061)],
    }
    for name, listening in listeners.items():
        path = directory / f"{name}.toml"
        address = getattr(settings.network, name)
        more = [LISTEN.format(address=address, port=port, transport=transport) for transport, port in listening]
        text = path.read_text().replace("[sip.hosts]", "".join(more) + TLS + "[sip.hosts]", 1)
        if name == "pcscf":
            text = text.replace(f'"sip:{icscf}:5060"', f'"sip:{icscf}:5061;transport=tls"')
            assert "transport=tls" in text
            text += f'\n[sip.websocket]\norigins = ["{PAGE}"]\n'
        path.write_text(text)
    return settings


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[LabSettings]:
    settings = configure(directory)
    async with ProcessGroup() as group:
        for stage in render.plans(settings, directory):
            await group.start(stage, lambda _: None)
        yield settings
    check_logs(directory)


def check_logs(directory: Path) -> None:
    for log in directory.glob("*.log"):
        assert " error " not in log.read_text(), log.read_text()


class Phone:
    """A UE in a browser, as far as SIP goes."""

    def __init__(self, socket: ClientConnection, via: str, domain: str, number: int) -> None:
        self.socket = socket
        self.domain = domain
        self.number = f"1555000000{number}"
        self.imsi = f"00101000000000{number}"
        self.impi = f"{self.imsi}@{domain}"
        self.contact = f"<sip:{self.imsi}@df7jal23ls0{number}.invalid;transport=ws>"
        self.via = f"SIP/2.0/{via} df7jal23ls0{number}.invalid;branch=z9hG4bK"
        self.service_route: list[str] = []
        self._serial = 0

    def new(self, method: str, uri: str, to: str, *headers: tuple[str, str]) -> Request:
        self._serial += 1
        own = f"sip:{self.impi}" if method == "REGISTER" else f"sip:+{self.number}@{self.domain}"
        given = dict(headers)
        usual = {
            "Via": f"{self.via}{self._serial}",
            "Max-Forwards": "70",
            "From": f"<{own}>;tag=a{self.number}",
            "To": f"<{to}>",
            "Call-ID": f"call{self.number}",
            "CSeq": f"{self._serial} {method}",
            "Contact": self.contact,
        }
        return Request.new(method, uri, [*(usual | given).items()])

    async def send(self, message: Request | Response) -> None:
        await self.socket.send(bytes(message).decode())

    async def receive(self) -> Any:
        received = await self.socket.recv()
        return parse(received.encode() if isinstance(received, str) else received)

    async def final(self) -> Any:
        while (response := await self.receive()).status < 200:
            pass
        return response

    async def register(self) -> Response:
        uri, impu = f"sip:{self.domain}", f"sip:{self.impi}"
        values = {"username": self.impi, "realm": self.domain, "uri": uri}
        answer = {**values, "nonce": "", "response": ""}
        statuses = []
        for _ in range(2):
            text = "Digest " + ", ".join(f'{name}="{value}"' for name, value in answer.items())
            more = (("Authorization", text), ("Expires", "600000"), ("Supported", "path"))
            await self.send(self.new("REGISTER", uri, impu, *more))
            response: Response = await self.final()
            statuses.append(response.status)
            if response.status != 401:
                break
            nonce = Challenge.parse(response.get_all("WWW-Authenticate")[0]).get("nonce") or ""
            agreement = Usim(K, OPC).challenge(*digest.parse_aka_nonce(nonce))
            assert isinstance(agreement, Agreement)
            proof = digest.response(
                username=self.impi, realm=self.domain, uri=uri, nonce=nonce, method="REGISTER",
                password=agreement.res, qop="", nc="", cnonce="", algorithm="AKAv1-MD5",
            )  # fmt: skip
            answer = {**values, "nonce": nonce, "response": proof, "algorithm": "AKAv1-MD5"}
        assert statuses == [401, 200]
        self.service_route = response.values("Service-Route")
        return response


@contextlib.asynccontextmanager
async def phone(directory: Path, settings: LabSettings, transport: str, number: int) -> AsyncIterator[Phone]:
    uri = f"{transport}://{NET}.10:{PORTS[transport]}"
    trusted = ssl.create_default_context(cafile=directory / "own.pem") if transport == "wss" else None
    async with connect(uri, subprotocols=[Subprotocol("sip")], origin=PAGE, ssl=trusted, proxy=None) as socket:
        yield Phone(socket, transport.upper(), settings.network.domain, number)


def health(node: str, settings: LabSettings) -> dict[str, Any]:
    address = getattr(settings.network, node)
    with urllib.request.urlopen(f"http://{address}:{settings.network.health_port}/health", timeout=5) as answer:
        return dict(json.load(answer))


async def call(caller: Phone, callee: Phone) -> None:
    """Call, answer, acknowledge, and let the callee hang up."""
    routes = [("Route", ", ".join(caller.service_route))]
    target = f"sip:+{callee.number}@{caller.domain}"
    await caller.send(caller.new("INVITE", target, target, *routes))
    invite = await callee.receive()
    assert invite.method == "INVITE"
    assert invite.uri == callee.contact.strip("<>")  # .invalid: found by its flow
    assert invite.via.transport == callee.via.split("/")[2].split()[0]
    towards_ue = invite.record_routes[0].sip_uri
    assert (towards_ue.host, towards_ue.port, towards_ue.transport) == (
        f"{NET}.10", PORTS[invite.via.transport.lower()], "ws"
    )  # fmt: skip
    ok = Response.to_request(invite, 200, to_tag="b", headers=[("Contact", callee.contact)])
    for value in invite.get_all("Record-Route"):
        ok.append("Record-Route", value)
    await callee.send(ok)
    answer = await caller.final()
    assert answer.status == 200
    route_set = [str(route) for route in reversed(answer.record_routes)]
    assert answer.record_routes[-1].sip_uri.transport == "ws"
    remote = answer.contacts[0].uri
    ack = caller.new("ACK", remote, target, ("To", answer.get("To")), ("Route", ", ".join(route_set)))
    ack.set("CSeq", str(answer.cseq.number) + " ACK")
    await caller.send(ack)
    assert (await callee.receive()).method == "ACK"
    bye = callee.new(
        "BYE", invite.contacts[0].uri, target, ("From", f"{invite.get('To')};tag=b"), ("To", invite.get("From")),
        ("Call-ID", invite.call_id), ("Route", ", ".join(str(route) for route in invite.record_routes)),
    )  # fmt: skip
    await callee.send(bye)
    ended = await caller.receive()
    assert ended.method == "BYE"
    await caller.send(Response.to_request(ended, 200, to_tag=""))
    assert (await callee.final()).status == 200


def test_browsers_register_and_call_each_other(tmp_path: Path) -> None:
    """SP-04: WS and WSS at the P-CSCF, TLS to the I-CSCF."""

    async def scenario() -> None:
        async with asyncio.timeout(60), running(tmp_path) as settings, phone(tmp_path, settings, "ws", 1) as alice:
            assert (await alice.register()).contacts[0].uri == alice.contact.strip("<>")
            async with phone(tmp_path, settings, "wss", 2) as bob:
                await bob.register()
                await call(alice, bob)
                await call(bob, alice)
                wire = health("pcscf", settings)["wire"]
                assert (wire["ws_connections"], wire["wss_connections"], wire["tls_connections"]) == (1, 1, 1)
            target = f"sip:+{bob.number}@{bob.domain}"  # whose browser was closed
            routes = ("Route", ", ".join(alice.service_route))
            await alice.send(alice.new("INVITE", target, target, routes, ("Call-ID", "late")))
            async with asyncio.timeout(5):
                assert (await alice.final()).status in {408, 480, 500}
        log = (tmp_path / "pcscf.log").read_text()
        assert 'reason="the WebSocket is closed"' in log

    asyncio.run(scenario())


@pytest.mark.parametrize("origin", [Origin("https://evil.example")])
def test_other_pages_are_not_let_in(tmp_path: Path, origin: Origin, start_node: Any) -> None:
    configure(tmp_path)
    text = (tmp_path / "pcscf.toml").read_text().replace('"own.', f'"{tmp_path}/own.')
    with start_node("pcscf", text) as node:
        node.wait_for("ready")

        async def scenario() -> None:
            with pytest.raises(Exception, match="HTTP 403"):
                await connect(
                    f"ws://{NET}.10:{PORTS['ws']}", subprotocols=[Subprotocol("sip")], origin=origin, proxy=None
                )

        asyncio.run(scenario())
        node.wait_for("connection-lost")
        assert "invalid Origin header: https://evil.example" in node.log
