"""Whatever is sent to a CSCF: the right error or silence, while the calls of all others go on."""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

ATTACKER = "127.0.7.9"
CALLER = 1070  # and the next one, whom it calls
NODES = ("pcscf", "icscf", "scscf")

HEAD = (
    "Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{serial};rport\r\nMax-Forwards: 70\r\n"
    "From: <sip:mallory@example.org>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: {serial}@{host}\r\n"
)


def message(method: str, *more: str, body: str = "", length: int | None = None, version: str = "SIP/2.0") -> str:
    """Write a request of nobody's; the words in braces are filled in when it is sent."""
    lines = "".join(f"{line}\r\n" for line in more)
    size = len(body) if length is None else length
    cseq = "" if any(line.startswith("CSeq") for line in more) else f"CSeq: 1 {method}\r\n"
    return f"{method} sip:{{to}} {version}\r\n{HEAD}{cseq}{lines}Content-Length: {size}\r\n\r\n{body}"


INVITE = message("INVITE")
SILENCE = None

# what is sent in a datagram, and the status of the answer from each of NODES
DATAGRAMS: dict[str, tuple[str | bytes, tuple[int | None, ...]]] = {
    "binary": (bytes(range(256)) * 4, (SILENCE,) * 3),
    "text": ("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", (SILENCE,) * 3),
    "zero octets": (bytes(3000), (SILENCE,) * 3),
    "keep-alive": (b"\r\n\r\n", (SILENCE,) * 3),
    "a response to nothing": (INVITE.replace("INVITE sip:{to} SIP/2.0", "SIP/2.0 200 OK"), (SILENCE,) * 3),
    "half a message": (INVITE[:60], (400,) * 3),
    "an unknown method": (message("FROBNICATE"), (405,) * 3),
    "a call to a node": (INVITE, (405,) * 3),
    "an unknown version": (message("INVITE", version="SIP/7.0"), (505,) * 3),
    "no hops left": (INVITE.replace("Max-Forwards: 70", "Max-Forwards: 0"), (483,) * 3),
    "an extension that a proxy must know": (message("INVITE", "Proxy-Require: teleport"), (420,) * 3),
    "another URI scheme": (INVITE.replace("sip:{to} SIP", "gopher:{to} SIP"), (416,) * 3),
    "a lie about the length": (message("INVITE", body="short", length=5000), (400,) * 3),
    "a negative length": (message("INVITE", length=-1), (400,) * 3),
    "two CSeq": (message("INVITE", "CSeq: 1 INVITE", "CSeq: 2 INVITE"), (400,) * 3),
    "CSeq of another method": (message("INVITE", "CSeq: 1 BYE"), (400,) * 3),
    "many header fields": (message("INVITE", *["X-Many: 1"] * 1000), (513,) * 3),
    "a long line": (message("INVITE", "X-Long: " + 60_000 * "x"), (513,) * 3),
    "as much as UDP takes": ("fill", (405,) * 3),
}


class Attacker:
    """A socket of nobody's."""

    def __init__(self) -> None:
        self._serial = 0

    def filled(self, text: str, port: int, to: str) -> bytes:
        self._serial += 1
        return text.format(host=ATTACKER, port=port, serial=self._serial, to=to).encode()

    def answer_to(self, data: str | bytes, node: tuple[str, int]) -> int | None:
        """Send a datagram and the question whether anybody is there; the answer to that ends the wait for the first."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((ATTACKER, 0))
            udp.settimeout(5)
            port = udp.getsockname()[1]
            if data == "fill":
                room = 65_507 - len(self.filled(message("INVITE", length=65_000), port, node[0]))
                data = message("INVITE", body="x" * room)
                assert len(self.filled(data, port, node[0])) == 65_507
            udp.sendto(self.filled(data, port, node[0]) if isinstance(data, str) else data, node)
            udp.sendto(self.filled(message("OPTIONS"), port, node[0]), node)
            status = None
            while (answer := udp.recv(65_535)) and b" OPTIONS\r\n" not in answer:
                if not answer.startswith(b"SIP/2.0 100 "):
                    status = int(answer.split(b" ", 2)[1])
            assert answer.startswith(b"SIP/2.0 200 ")
            return status


@contextlib.contextmanager
def connected(node: tuple[str, int], *parts: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(node, timeout=5, source_address=(ATTACKER, 0)) as tcp:
        for part in parts:
            tcp.sendall(part)
        yield tcp


def received(tcp: socket.socket) -> bytes:
    """Read until the node closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := tcp.recv(65_535):
            data += part
    return data


@pytest.fixture
def lab(attacked_lab: Any) -> Any:
    return attacked_lab


@pytest.fixture
def nodes(lab: Any) -> dict[str, tuple[str, int]]:
    network = lab.settings.network
    return {name: (getattr(network, name), network.sip_port) for name in NODES}


@pytest.fixture
def call(lab: Any, sipp: Any) -> Iterator[None]:
    """A call that is up during the test; afterwards it ends as calls do, and everybody can call and register."""
    sipp.run("register", CALLER, 2).check(2)
    sipp.answer(CALLER + 1, 1)
    pids = lab.pids
    before = {name: len(lab.log(name)) for name in NODES}
    answered = lab.log("pcscf").count("call-answered")
    calling = sipp.start("call", CALLER, 1, "-m", "1", callees=1, talk="3000")
    deadline = time.monotonic() + 10
    while lab.log("pcscf").count("call-answered") < answered + 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # between two looks
    yield
    assert calling.poll() is None, "the call should still be up"
    sipp.finish(calling).check(1)
    sipp.run("call", CALLER, 1, callees=1).check(1)
    sipp.run("register", CALLER, 1).check(1)
    assert lab.pids == pids
    for name in NODES:
        assert lab.health(name)["status"] == "ok"
        assert len(lab.log(name)) - before[name] < 40_000, f"{name}'s log was flooded"


def test_datagrams(call: None, nodes: dict[str, tuple[str, int]]) -> None:
    attacker = Attacker()
    answers = {
        what: tuple(attacker.answer_to(data, nodes[name]) for name in NODES) for what, (data, _) in DATAGRAMS.items()
    }
    assert answers == {what: expected for what, (_, expected) in DATAGRAMS.items()}


def test_message_too_large_to_go_on(call: None, lab: Any, sipp: Any, nodes: dict[str, tuple[str, int]]) -> None:
    """A registered UE fills a datagram, so that it does not fit into another one with the P-CSCF's Via."""
    ue = CALLER + 2
    sipp.run("register", ue, 1).check(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((sipp.address(ue), 5062))
        udp.settimeout(5)
        to = f"nobody@{nodes['pcscf'][0]}"
        invite = Attacker().filled(message("INVITE", length=65_000), 5062, to)
        body = (65_507 - len(invite)) * "x"
        udp.sendto(Attacker().filled(message("INVITE", body=body), 5062, to), nodes["pcscf"])
        statuses = [udp.recv(65_535).split(b" ", 2)[1] for _ in range(2)]
    assert statuses == [b"100", b"513"]


def test_flood_of_garbage(call: None, lab: Any, nodes: dict[str, tuple[str, int]]) -> None:
    """Thousands of malformed datagrams cost thousands of looks, and a few lines."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((ATTACKER, 0))
        for node in nodes.values():
            for number in range(1000):
                udp.sendto(b"INVITE nonsense %d\r\n\r\n" % number, node)
    assert Attacker().answer_to(INVITE, nodes["pcscf"]) == 405


def test_connections(call: None, nodes: dict[str, tuple[str, int]]) -> None:
    attacker = Attacker()
    for node in nodes.values():
        with contextlib.ExitStack() as slow_ones:
            _connect(attacker, node, slow_ones)


def _connect(attacker: Attacker, node: tuple[str, int], slow_ones: contextlib.ExitStack) -> None:
    def good() -> bytes:
        return attacker.filled(message("OPTIONS").replace("/UDP", "/TCP"), 9, node[0])

    def lie(length: int) -> bytes:
        return good().replace(b"Content-Length: 0", b"Content-Length: %d" % length)

    # they send a little and keep the connection: nobody else waits for them
    whole = good()
    slow = [slow_ones.enter_context(connected(node, whole[:10])) for _ in range(50)]
    slow_ones.enter_context(connected(node, lie(60_000)))
    # one octet at a time is slow, but right
    for position in range(10, len(whole)):
        slow[0].sendall(whole[position : position + 1])
    assert slow[0].recv(65_535).startswith(b"SIP/2.0 200 ")
    # a connection is closed when nobody can know where the next message begins
    no_length = good().replace(b"Content-Length: 0\r\n", b"")
    for bad in (bytes(range(128, 256)) * 1000, b"x" * 70_000, b"nonsense\r\n\r\n", no_length, lie(99_999_999)):
        with connected(node, bad) as tcp:
            answer = received(tcp)
            assert not answer or answer.startswith((b"SIP/2.0 400 ", b"SIP/2.0 513 ")), answer
    # half a message, and gone
    with connected(node, good()[:200]):
        pass
    # a ping is answered, and a message after it
    with connected(node, b"\r\n\r\n") as tcp:
        assert tcp.recv(100) == b"\r\n"
        tcp.sendall(good())
        assert tcp.recv(65_535).startswith(b"SIP/2.0 200 ")
    # what lies behind a body that is longer than it says is no message
    with connected(node, good() + b"the rest of the body\r\n\r\n") as tcp:
        assert received(tcp).startswith(b"SIP/2.0 200 ")
