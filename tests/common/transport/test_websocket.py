"""WebSocket against the client of the websockets library, and against bytes that no client would send."""

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from opencscf.common.node.connection_settings import ConnectionSettings, TlsSettings
from opencscf.common.node.settings import ListenTransport
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Request
from opencscf.common.sip.parser import KEEPALIVE, MAX_MESSAGE_BYTES, Malformed
from opencscf.common.transport import tcp
from opencscf.common.transport.websocket import MAX_HANDSHAKE_BYTES, WebSocketFraming

WS = (ListenTransport.WS,)
PAGE = "https://phone.example"


def sip(address: tuple[str, int], **options: Any) -> connect:
    return connect(f"ws://{address[0]}:{address[1]}", subprotocols=[Subprotocol("sip")], proxy=None, **options)


# ---------------------------------------------------------------------- through the endpoint


def test_messages_pass_both_ways_in_one_frame_each(run: Any, listen: Any, options: Any) -> None:
    """RFC 7118 4, 5: text and binary."""

    async def scenario() -> None:
        async with listen(transports=WS) as heard, sip(heard.address) as client:
            assert client.subprotocol == "sip"
            assert not client.protocol.extensions  # no compression
            for sent in (bytes(options).decode(), bytes(options)):
                await client.send(sent)
                message, flow = await heard.received.get()
                assert bytes(message) == bytes(options)
                assert flow == Flow(Transport.WS, heard.address, client.local_address[:2], flow.connection)
                assert heard.endpoint.local_for(flow) == heard.address
            await client.send([bytes(options)[:100].decode(), bytes(options)[100:].decode()])  # in fragments
            assert bytes((await heard.received.get())[0]) == bytes(options)
            heard.endpoint.send(bytes(options), flow)
            assert await client.recv() == bytes(options).decode()
            heard.endpoint.send(b"\xff", flow)
            assert await client.recv() == b"\xff"
            assert heard.endpoint.counters()["ws_connections"] == 1

    run(scenario())


def test_pings_are_answered(run: Any, listen: Any) -> None:
    """RFC 7118 6, and the double CRLF of RFC 5626 3.5.1."""

    async def scenario() -> None:
        async with listen(transports=WS) as heard, sip(heard.address) as client:
            await (await client.ping())
            await client.send("\r\n\r\n")
            assert await client.recv() == "\r\n"
            await client.send("\r\n")
            await (await client.ping())
            assert heard.malformed.empty()

    run(scenario())


def test_a_client_that_does_not_answer_pings_is_gone(
    run: Any, listen: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "SWEEP_S", 0.02)

    async def scenario() -> None:
        limits = ConnectionSettings(ping_s=0.1, silent_s=0.2, idle_s=0.3)
        async with listen(transports=WS, connections=limits) as heard, sip(heard.address, ping_interval=None) as client:
            await client.send(bytes(options))
            _, flow = await heard.received.get()
            await asyncio.sleep(0.6)  # the library answers pings meanwhile, so that it is not idle
            heard.endpoint.send(b"alive", flow)
            assert await client.recv() == "alive"
            client.transport.pause_reading()
            assert await heard.failed.get() == (flow, "no answer to pings")
            heard.endpoint.send(b"late", flow)
            assert await heard.failed.get() == (flow, "the WebSocket is closed")
            client.transport.abort()

    run(scenario())


def test_nobody_can_be_connected_to(run: Any, listen: Any) -> None:
    """RFC 7118 5."""

    async def scenario() -> None:
        async with listen(transports=WS) as heard:
            hop = Hop(Transport.WS, "127.0.0.1", 9)
            heard.endpoint.send(b"x", hop)
            assert await heard.failed.get() == (hop, "only clients open a WebSocket")
            assert heard.endpoint.local_for(hop) == heard.address

    run(scenario())


@pytest.mark.parametrize(
    ("origins", "origin", "is_let_in"),
    [
        ((), None, True),
        ((), PAGE, False),
        ((), "null", False),
        ((PAGE,), PAGE, True),
        ((PAGE,), None, True),
        ((PAGE,), "https://evil.example", False),
        ((PAGE,), "http://phone.example", False),
        (("*",), "https://evil.example", True),
    ],
)
def test_pages_that_may_connect(
    run: Any,
    listen: Any,
    origins: tuple[str, ...],
    origin: Any,
    is_let_in: bool,  # noqa: FBT001
) -> None:
    """RFC 6455 10.2."""

    async def scenario() -> None:
        async with listen(transports=WS, origins=origins) as heard:
            if is_let_in:
                async with sip(heard.address, origin=origin):
                    return
            with pytest.raises(InvalidStatus) as refused:
                async with sip(heard.address, origin=origin):
                    pass
            assert refused.value.response.status_code == 403
            assert (await heard.lost.get())[1] == f"WebSocket: invalid Origin header: {origin}"

    run(scenario())


@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("mqtt")]])
def test_who_does_not_speak_sip_is_refused(run: Any, listen: Any, subprotocols: Any) -> None:
    """RFC 7118 4.1."""

    async def scenario() -> None:
        async with listen(transports=WS) as heard:
            with pytest.raises(InvalidStatus) as refused:
                async with connect(f"ws://127.0.0.1:{heard.address[1]}", subprotocols=subprotocols, proxy=None):
                    pass
            assert refused.value.response.status_code == 400
            assert "subprotocol" in (await heard.lost.get())[1]

    run(scenario())


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"426", "WebSocket: missing Connection header"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"405", "WebSocket: unsupported HTTP method: POST"),
        (b"OPTIONS sip:ims.test SIP/2.0\r\nVia: x\r\n\r\n", b"", "WebSocket: "),
        (b"\x16\x03\x01\r\n\r\n", b"", "WebSocket: did not receive a valid HTTP request"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000, b"", "the WebSocket handshake is too long"),
    ],
    ids=["no upgrade", "POST", "SIP", "TLS", "too long"],
)
def test_what_is_no_websocket_is_one_line(
    run: Any, listen: Any, request_bytes: bytes, status: bytes, reason: str
) -> None:
    async def scenario() -> None:
        async with listen(transports=WS) as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(request_bytes)
            flow, told = await heard.lost.get()
            assert flow.remote == writer.get_extra_info("sockname")
            assert told.startswith(reason)
            if status:
                assert (await reader.readline()).split()[1] == status
            assert heard.endpoint.counters()["ws_connections"] == 0
            writer.close()

    run(scenario())


def test_a_handshake_must_end_in_time(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen(transports=WS, connections=ConnectionSettings(handshake_s=0.1)) as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(b"GET / HTTP/1.1\r\n")
            assert (await heard.lost.get())[1] == "no handshake in 0.1 s"
            assert await reader.read() == b""
            writer.close()

    run(scenario())


def test_a_message_whose_frames_do_not_come_is_not_waited_for(
    run: Any, listen: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "SWEEP_S", 0.02)

    async def scenario() -> None:
        limits = ConnectionSettings(message_s=0.2)
        async with listen(transports=WS, connections=limits) as heard, sip(heard.address) as client:
            await client.send(bytes(options))
            await heard.received.get()
            client.protocol.send_text(b"OPTIONS ", fin=False)
            client.send_data()
            assert (await heard.lost.get())[1] == "a message did not end in 0.2 s"

    run(scenario())


def test_messages_are_limited(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen(transports=WS) as heard, sip(heard.address) as client:
            await client.send(b"x" * (MAX_MESSAGE_BYTES + 1))
            with pytest.raises(ConnectionClosedError) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
            assert "65535" in (await heard.lost.get())[1]

    run(scenario())


def test_what_cannot_be_read_does_not_end_the_connection(run: Any, listen: Any, options: Any) -> None:
    """RFC 7118 5: one message in each frame."""

    async def scenario() -> None:
        async with listen(transports=WS) as heard, sip(heard.address) as client:
            for wrong in (
                b"not SIP",
                bytes(options).replace(b"Content-Length: 0", b"Content-Length: 5"),
                b"x" * 65_535,
            ):
                await client.send(wrong)
                data, _, flow = await heard.malformed.get()
                assert data == wrong
                assert flow.transport is Transport.WS
            two = bytes(options) * 2
            await client.send(two)
            assert (await heard.malformed.get())[0] == two
            await client.send(bytes(options))
            await heard.received.get()

    run(scenario())


def test_stopping_takes_leave(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen(transports=WS) as heard:
            client: ClientConnection = await sip(heard.address)
        await client.wait_closed()
        assert client.close_code == 1001

    run(scenario())


def test_secured_by_tls(run: Any, listen: Any, options: Any, tmp_path: Path, openssl: str) -> None:
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", certificate, "-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = TlsSettings(certificate, key)

    async def scenario() -> None:
        async with listen(transports=(ListenTransport.WSS,), tls=tls) as heard:
            context = ssl.create_default_context(cafile=certificate)
            uri = f"wss://127.0.0.1:{heard.address[1]}"
            async with connect(uri, subprotocols=[Subprotocol("sip")], ssl=context, proxy=None) as client:
                await client.send(bytes(options))
                _, flow = await heard.received.get()
                assert flow.transport is Transport.WSS
                heard.endpoint.send(bytes(options), flow)
                assert await client.recv() == bytes(options).decode()
                assert heard.endpoint.counters()["wss_connections"] == 1

    run(scenario())


# ---------------------------------------------------------------------- the framing alone


class Pair:
    """A framing that has opened, and its client."""

    def __init__(self) -> None:
        self.client = ClientProtocol(parse_uri("ws://localhost"), subprotocols=[Subprotocol("sip")])
        self.framing = WebSocketFraming(())
        self.client.send_request(self.client.connect())

    def said(self) -> bytes:
        return b"".join(self.client.data_to_send())


def opened() -> Pair:
    pair = Pair()
    assert pair.framing.feed(pair.said()) == []
    assert pair.framing.is_open
    pair.client.receive_data(pair.framing.output())
    assert pair.client.handshake_exc is None
    return pair


def test_what_comes_right_behind_the_handshake_is_taken(options: Any) -> None:
    pair = Pair()
    request = pair.said()
    message = Frame(Opcode.TEXT, bytes(options)).serialize(mask=True)
    assert request.endswith(b"\r\n\r\n")
    assert [bytes(item) for item in pair.framing.feed(request + message) if isinstance(item, Request)] == [
        bytes(options)
    ]


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 50])
def test_what_comes_right_behind_a_handshake_does_not_harm_its_refusal(cut: int) -> None:
    """The frame is wrong too; whichever fault is found first ends it."""
    framing = WebSocketFraming(())
    stream = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + Frame(Opcode.CONT, b"x").serialize(mask=True)
    for start in range(0, len(stream), cut):
        if not framing.is_over:
            framing.feed(stream[start : start + cut])
    assert framing.fault == "WebSocket: missing Connection header"
    assert framing.output().startswith(b"HTTP/1.1 426 ")


def test_any_cut_gives_the_same(options: Any) -> None:
    pair = Pair()
    pair.framing.feed(pair.said())
    stream = b"".join(
        Frame(Opcode.TEXT, data).serialize(mask=True) for data in (bytes(options), b"\r\n\r\n", b"no", bytes(options))
    )
    found: list[Any] = []
    for start in range(0, len(stream), 7):
        found += pair.framing.feed(stream[start : start + 7])
        assert pair.framing.is_partial == (start + 7 < len(stream)) or found
    assert [type(item) for item in found] == [Request, type(KEEPALIVE), Malformed, Request]
    assert not pair.framing.is_partial


def test_text_must_be_utf8() -> None:
    """RFC 6455 8.1."""
    pair = opened()
    assert pair.framing.feed(Frame(Opcode.TEXT, b"\xff").serialize(mask=True)) == []
    assert pair.framing.is_over
    assert pair.framing.fault == "a text that is not UTF-8"
    pair.client.receive_data(pair.framing.output())
    assert pair.client.close_rcvd is not None
    assert pair.client.close_rcvd.code == 1007


def test_an_unmasked_frame_ends_it() -> None:
    """RFC 6455 5.1."""
    pair = opened()
    pair.framing.feed(Frame(Opcode.TEXT, b"x").serialize(mask=False))
    assert pair.framing.is_over
    assert pair.framing.fault.startswith("WebSocket: ")


def test_the_clients_leave_ends_it_in_peace() -> None:
    pair = opened()
    pair.client.send_close(1000)
    assert pair.framing.feed(pair.said()) == []
    assert pair.framing.is_over
    assert pair.framing.fault == ""
    pair.client.receive_data(pair.framing.output())
    assert pair.client.close_rcvd is not None  # the echo
    assert (pair.framing.frame(b"x"), pair.framing.ping(), pair.framing.end()) == (b"", b"", b"")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_no_bytes_do_more_than_end_it(chunks: list[bytes]) -> None:
    for framing in (WebSocketFraming(("*",)), opened().framing):
        for chunk in chunks:
            if not framing.is_over:
                framing.feed(chunk)
                framing.output()
        assert framing.is_over or framing.fault == ""
        framing.frame(b"x")
        framing.end()
        assert not framing.is_open


def test_a_handshake_cannot_grow() -> None:
    framing = WebSocketFraming(())
    sent = 0
    while not framing.is_over:
        framing.feed(b"GET / HTTP/1.1\r\n" if not sent else b"A: b\r\n")
        sent += 6
    assert sent <= MAX_HANDSHAKE_BYTES + 6
