"""The client against servers on loopback, good ones and bad ones, under asyncio and uvloop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import uvloop

from opencscf.common.errors import PeerUnavailable
from opencscf.common.node.clock import SystemClock
from opencscf.diameter import connection, dictionary
from opencscf.diameter import peer as machine
from opencscf.diameter.codec import REQUEST, DiameterMessage, StreamDecoder, decode_avps
from opencscf.diameter.connection import DiameterClient, DiameterQuestion, PeerStatus, Respond
from opencscf.diameter.cx import (
    LocationInfoAnswer,
    LocationInfoRequest,
    UserAuthorizationAnswer,
    UserAuthorizationRequest,
)
from opencscf.diameter.dictionary import Application, Command
from opencscf.diameter.peer import LocalNode
from opencscf.diameter.results import Result, result_avps, result_of
from opencscf.diameter.rx import AaAnswer, AaRequest
from opencscf.diameter.settings import DiameterSettings, PeerSettings

UAR = UserAuthorizationRequest("001010000000001@ims.test", "sip:alice@ims.test", "ims.test")
UAA = UserAuthorizationAnswer(Result.FIRST_REGISTRATION, "sip:scscf.ims.test:5060")
AAR = AaRequest("pcscf.ims.test;1;2", "10.45.0.2", "sip:alice@ims.test")
WAIT_S = 5.0  # that a test waits for what must happen

Test: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Test], None]:
    monkeypatch.setattr(machine, "FIRST_RETRY_S", 0.1)
    monkeypatch.setattr(machine, "DISCONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(connection, "TICK_S", 0.02)
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_test(test: Test) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(test(), 4 * WAIT_S))

    return run_test


class Log:
    """Keeps what is logged, and wakes who waits for it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []
        self._changed = asyncio.Event()

    def event(self, level: str, event: str, **fields: object) -> None:
        self.lines.append((level, event, fields))
        self._changed.set()

    def reasons(self, event: str, level: str | None = None) -> list[object]:
        return [f.get("reason") for had, name, f in self.lines if name == event and level in {None, had}]

    async def wait(self, event: str, times: int = 1) -> list[object]:
        while len(self.reasons(event)) < times:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), WAIT_S)
        return self.reasons(event)


class Peer:
    """A server that answers by a table; `received` has all it got."""

    def __init__(self, application: Application = Application.CX, host: str = "hss.ims.test") -> None:
        self.node = LocalNode(host, "ims.test", application)
        self.received: list[DiameterMessage] = []
        self.port = 0
        self.address = "127.0.0.1"
        self.writer: asyncio.StreamWriter | None = None
        self.connections = 0
        self.answers: dict[int, Callable[[DiameterMessage], DiameterMessage | bytes | None]] = {
            Command.CAPABILITIES_EXCHANGE: lambda cer: self.answer(cer, self.node.capabilities("127.0.0.1")),
            Command.DEVICE_WATCHDOG: lambda dwr: self.answer(dwr, self.node.origin()),
            Command.DISCONNECT_PEER: lambda dpr: self.answer(dpr, self.node.origin()),
            Command.USER_AUTHORIZATION: lambda uar: uar.answer([uar.avps[0], *decode_avps(UAA.encode())]),
        }
        self._server: asyncio.Server | None = None
        self._got = asyncio.Event()

    @staticmethod
    def answer(request: DiameterMessage, avps: list[Any], result: Result = Result.SUCCESS) -> DiameterMessage:
        return request.answer([*result_avps(result), *avps])

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self.writer is not None:
            self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)

    async def wait(self, command: int, times: int = 1) -> list[DiameterMessage]:
        while len(got := [message for message in self.received if message.command == command]) < times:
            self._got.clear()
            await asyncio.wait_for(self._got.wait(), WAIT_S)
        return got

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.connections += 1
        decoder = StreamDecoder()
        try:
            while data := await reader.read(65536):
                decoder.receive(data)
                while isinstance(message := decoder.next_message(), DiameterMessage):
                    self.received.append(message)
                    self._got.set()
                    make_answer = self.answers.get(message.command) if message.is_request else None
                    answer = None if make_answer is None else make_answer(message)
                    if answer is not None:
                        writer.write(answer if isinstance(answer, bytes) else answer.encode())
        except ConnectionError:
            pass
        finally:
            writer.close()


def settings(*peers: Peer, **others: Any) -> DiameterSettings:
    return DiameterSettings(
        "icscf.ims.test",
        "ims.test",
        "ims.test",
        tuple(PeerSettings(peer.node.origin_host, peer.address, peer.port) for peer in peers),
        **{"request_timeout_s": 0.1, "connect_timeout_s": 0.15, **others},
    )


def new_client(*peers: Peer, log: Log, **others: Any) -> DiameterClient:
    names = ("on_state", "on_request", "trace")
    kept = {name: others.pop(name) for name in names if name in others}
    application = peers[0].node.application
    client = DiameterClient(settings(*peers, **others), application, clock=SystemClock(), log=log, **kept)
    client.start()
    return client


def ask(client: DiameterClient, question: DiameterQuestion[Any]) -> Awaitable[Any]:
    answered = asyncio.get_running_loop().create_future()
    client.ask(question, answered.set_result)
    return answered


def name_of(peer: Peer) -> str:
    return f"{peer.node.origin_host} ({peer.address}:{peer.port})"


def test_question_is_answered(run: Callable[[Test], None]) -> None:
    """CX-10, DB-01."""

    async def test() -> None:
        peer, log = Peer(), Log()
        await peer.start()
        states: list[PeerStatus] = []
        traced: list[tuple[str, str, str, str | None]] = []
        client = new_client(
            peer,
            log=log,
            on_state=states.append,
            trace=lambda direction, protocol, **f: traced.append(
                (direction, protocol, f["summary"], f["fields"].get("impu"))
            ),
        )
        assert not client.is_open
        await client.wait_open(WAIT_S)
        await client.wait_open(WAIT_S)
        assert await ask(client, UAR) == UAA
        assert client.in_flight == 0
        [uar] = await peer.wait(Command.USER_AUTHORIZATION)
        codes = [avp.code for avp in uar.avps]
        assert codes == [263, 260, 277, 264, 296, 283, 1, 601, 600, 623]
        assert uar.application == Application.CX
        assert uar.is_request
        assert uar.is_proxiable
        await client.stop()
        assert [message.command for message in peer.received] == [257, 300, 282]
        assert [(state.is_open, str(state)) for state in states] == [(True, "open"), (False, "disconnected")]
        assert traced == [
            ("out", "cx", "CER", None),
            ("in", "cx", "CEA SUCCESS (2001)", None),
            ("out", "cx", "UAR", UAR.impu),
            ("in", "cx", "UAA FIRST_REGISTRATION (2001)", UAR.impu),
            ("out", "cx", "DPR", None),
            ("in", "cx", "DPA SUCCESS (2001)", None),
        ]
        await peer.stop()

    run(test)


def test_rx_request_has_its_own_session_and_the_plain_application(run: Callable[[Test], None]) -> None:
    """DB-06."""

    async def test() -> None:
        peer, log = Peer(Application.RX, "pcrf.ims.test"), Log()
        peer.answers[Command.AA] = lambda aar: aar.answer([*aar.avps[:2], *result_avps(Result.SUCCESS)])
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        assert await ask(client, AAR) == AaAnswer(Result.SUCCESS)
        [aar] = await peer.wait(Command.AA)
        assert [avp.code for avp in aar.avps[:5]] == [263, 258, 264, 296, 283]
        assert dictionary.SESSION_ID.text_in(aar.avps) == AAR.session_id
        await client.stop()
        await peer.stop()

    run(test)


def test_answers_in_any_order_and_of_a_wrong_application_find_their_questions(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        peer.answers[Command.LOCATION_INFO] = lambda _: None
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        asked = [ask(client, LocationInfoRequest(f"sip:{n}@ims.test")) for n in range(3)]
        requests = await peer.wait(Command.LOCATION_INFO, times=3)
        sessions = {dictionary.SESSION_ID.text_in(request.avps) for request in requests}
        assert len(sessions) == 3
        for number in (2, 0, 1):  # 16777217: an HSS answers with the Sh application
            answer = decode_avps(LocationInfoAnswer(Result.SUCCESS, f"sip:scscf{number}").encode())
            peer.send(requests[number].answer(answer)._replace(application=16777217).encode())
        answers = [await answered for answered in asked]
        assert answers == [LocationInfoAnswer(Result.SUCCESS, f"sip:scscf{number}") for number in range(3)]
        await client.stop()
        await peer.stop()

    run(test)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(lambda _: None, "no answer in 0.1 s", id="silence"),
        pytest.param(
            lambda uar: uar.answer([]),
            "unusable answer: UAA without Result-Code and Experimental-Result",
            id="no result",
        ),
        pytest.param(
            lambda uar: uar.answer(result_avps(Result.SUCCESS))._replace(command=302),
            "unusable answer: LIA instead of UAA",
            id="another command",
        ),
        pytest.param(
            lambda uar: uar.answer(
                [*result_avps(Result.UNABLE_TO_DELIVER), dictionary.ERROR_MESSAGE.text("not an agent")], is_error=True
            ),
            "UAA with UNABLE_TO_DELIVER (3002), not an agent",
            id="6733-7.1.3 protocol error",
        ),
        pytest.param(
            lambda uar: uar.answer(result_avps(Result.SUCCESS)).encode()[:-5] + b"\x63\0\0\x0b\xb9",
            "unusable answer: AVP 268 has length",
            id="AVP of a wrong length",
        ),
    ],
)
def test_no_usable_answer(run: Callable[[Test], None], answer: Callable[..., Any], reason: str) -> None:
    if reason.startswith("unusable answer: AVP"):
        answer = _with_broken_avp

    async def test() -> None:
        peer, log = Peer(), Log()
        peer.answers[Command.USER_AUTHORIZATION] = answer
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        unavailable = await ask(client, UAR)
        assert isinstance(unavailable, PeerUnavailable)
        assert unavailable.peer == name_of(peer)
        assert unavailable.reason.startswith(reason)
        assert client.in_flight == 0
        assert client.is_open
        assert peer.connections == 1
        await client.stop()
        await peer.stop()

    run(test)


def _with_broken_avp(request: DiameterMessage) -> bytes:
    data = bytearray(request.answer(result_avps(Result.SUCCESS)).encode())
    data[27] = 99
    return bytes(data)


def test_refused_avp_is_logged(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        failed = dictionary.FAILED_AVP.group(dictionary.PUBLIC_IDENTITY.text(""))
        peer.answers[Command.USER_AUTHORIZATION] = lambda uar: uar.answer([*result_avps(Result.MISSING_AVP), failed])
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        assert await ask(client, UAR) == UserAuthorizationAnswer(Result.MISSING_AVP)
        assert log.reasons("diameter-refused", "warning") == ["failed Public-Identity"]
        await client.stop()
        await peer.stop()

    run(test)


def test_nobody_listens(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            peer.port = unused.getsockname()[1]
        client = new_client(peer, log=log)
        unavailable = await ask(client, UAR)
        assert str(unavailable) == f"{name_of(peer)}: not connected yet"
        with pytest.raises(PeerUnavailable) as caught:
            await client.wait_open(0.3)
        assert str(caught.value) == f"{name_of(peer)}: connection refused"
        assert client.peers() == (
            PeerStatus("hss.ims.test", f"127.0.0.1:{peer.port}", is_open=False, reason="connection refused"),
        )
        await peer.start()  # and now somebody does
        await client.wait_open(WAIT_S)
        assert await ask(client, UAR) == UAA
        assert log.reasons("diameter-closed", "warning") == ["connection refused"]
        await client.stop()
        await peer.stop()

    run(test)


def _refuse(result: Result) -> Callable[[DiameterMessage], DiameterMessage]:
    return lambda cer: cer.answer(result_avps(result), is_error=result.is_protocol_error)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(lambda _: None, "accepted the connection, but no CEA in 0.15 s", id="never answers"),
        pytest.param(
            _refuse(Result.UNKNOWN_PEER),
            "refuses our capabilities exchange as icscf.ims.test: UNKNOWN_PEER (3010)",
            id="DB-03 unknown peer",
        ),
        pytest.param(
            _refuse(Result.NO_COMMON_APPLICATION),
            "refuses our capabilities exchange as icscf.ims.test: NO_COMMON_APPLICATION (5010)",
            id="DB-03 no common application",
        ),
        pytest.param(
            lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "sent what is not Diameter: Diameter version 72",
            id="no Diameter",
        ),
    ],
)
def test_capabilities_exchange_fails(run: Callable[[Test], None], answer: Callable[..., Any], reason: str) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        peer.answers[Command.CAPABILITIES_EXCHANGE] = answer
        await peer.start()
        client = new_client(peer, log=log)
        assert await log.wait("diameter-closed") == [reason]
        assert str(await ask(client, UAR)) == f"{name_of(peer)}: {reason}"
        assert not client.is_open
        peer.answers = Peer().answers
        await client.wait_open(WAIT_S)  # it connects again by itself
        await client.stop()
        await peer.stop()

    run(test)


def test_garbage_on_an_open_connection_closes_it_with_one_warning(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        peer.answers[Command.USER_AUTHORIZATION] = lambda _: b"\xff" * 40
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        asked = [ask(client, UAR), ask(client, UAR)]
        reason = f"{name_of(peer)}: sent what is not Diameter: Diameter version 255"
        assert [str(await answered) for answered in asked] == [reason, reason]
        assert log.reasons("diameter-malformed") == ["Diameter version 255"]
        peer.answers = Peer().answers
        await client.wait_open(WAIT_S)
        assert peer.connections == 2
        assert await ask(client, UAR) == UAA
        await client.stop()
        await peer.stop()

    run(test)


def test_lost_connection_ends_its_questions_and_the_next_peer_is_asked(run: Callable[[Test], None]) -> None:
    """DB-05: failover."""

    async def test() -> None:
        first, second, log = Peer(), Peer(host="hss2.ims.test"), Log()
        first.answers[Command.USER_AUTHORIZATION] = lambda _: None
        await first.start()
        await second.start()
        client = new_client(first, second, log=log, request_timeout_s=WAIT_S)
        await log.wait("diameter-open", times=2)
        asked = ask(client, UAR)
        await first.wait(Command.USER_AUTHORIZATION)
        await first.stop()
        assert (await asked).peer == name_of(first)
        assert await ask(client, UAR) == UAA
        assert len(await second.wait(Command.USER_AUTHORIZATION)) == 1
        await second.stop()
        await log.wait("diameter-closed", times=2)
        unavailable = await ask(client, UAR)
        assert unavailable.peer == "all 2 peers"
        assert name_of(first) in unavailable.reason
        assert name_of(second) in unavailable.reason
        await client.stop()

    run(test)


def test_half_open_connection_is_found_by_the_watchdog(run: Callable[[Test], None]) -> None:
    """DB-04: suspect after missed answers, then closed and opened again."""

    async def test() -> None:
        peer, log = Peer(), Log()
        peer.answers[Command.DEVICE_WATCHDOG] = lambda _: None
        await peer.start()
        client = new_client(peer, log=log, watchdog_s=0.1)
        reason = "does not answer the watchdog of 0.1 s"
        assert await log.wait("diameter-suspect") == [reason]
        assert str(await ask(client, UAR)) == f"{name_of(peer)}: {reason}"
        assert await log.wait("diameter-closed") == [reason]
        await log.wait("diameter-open", times=2)
        await client.stop()
        await peer.stop()

    run(test)


def test_watchdog_of_the_peer_is_answered_and_unknown_answers_are_ignored(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        peer.send(DiameterMessage(300, Application.CX, 0, 1, 2, tuple(result_avps(Result.SUCCESS))).encode())
        peer.send(DiameterMessage(Command.DEVICE_WATCHDOG, 0, REQUEST, 3, 4, tuple(peer.node.origin())).encode())
        [dwa] = await peer.wait(Command.DEVICE_WATCHDOG)
        assert (dwa.hop_by_hop, dwa.end_to_end, result_of(dwa.avps, "DWA")) == (3, 4, Result.SUCCESS)
        assert [level for level, event, _ in log.lines if event == "diameter-answer-unknown"] == ["debug"]
        assert client.is_open
        await client.stop()
        await peer.stop()

    run(test)


@pytest.mark.parametrize(
    ("command", "application", "result"),
    [
        pytest.param(304, Application.CX, Result.COMMAND_UNSUPPORTED, id="a command that nobody handles"),
        pytest.param(317, 16777251, Result.APPLICATION_UNSUPPORTED, id="another application"),
    ],
)
def test_requests_of_the_peer_are_refused(
    run: Callable[[Test], None], command: int, application: int, result: Result
) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        session = dictionary.SESSION_ID.text("hss.ims.test;1;2")
        proxy = dictionary.PROXY_INFO.group()
        peer.send(DiameterMessage(command, application, REQUEST, 3, 4, (session, proxy)).encode())
        [answer] = await peer.wait(command)
        assert answer.is_error
        assert result_of(answer.avps, "answer") == result
        assert (answer.avps[0], answer.avps[-1]) == (session, proxy)
        broken = bytearray(DiameterMessage(command, application, REQUEST, 5, 6, (session,)).encode())
        broken[27] = 99
        peer.send(bytes(broken))
        _, refusal = await peer.wait(command, times=2)
        assert result_of(refusal.avps, "answer") == Result.INVALID_AVP_LENGTH
        assert refusal.hop_by_hop == 5
        await client.stop()
        await peer.stop()

    run(test)


def test_requests_of_the_peer_can_be_handled_and_answered_later(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        await peer.start()
        waiting: list[Respond] = []

        def on_request(request: DiameterMessage, respond: Respond) -> bool:
            waiting.append(respond)
            return request.command == Command.REGISTRATION_TERMINATION

        client = new_client(peer, log=log, on_request=on_request)
        await client.wait_open(WAIT_S)
        session = dictionary.SESSION_ID.text("hss.ims.test;1;2")
        peer.send(DiameterMessage(304, Application.CX, REQUEST, 3, 4, (session,)).encode())
        peer.send(DiameterMessage(305, Application.CX, REQUEST, 5, 6, (session,)).encode())
        [refusal] = await peer.wait(305)
        assert result_of(refusal.avps, "PPA") == Result.COMMAND_UNSUPPORTED
        waiting[0](Result.SUCCESS, [])
        [rta] = await peer.wait(304)
        assert [avp.code for avp in rta.avps] == [263, 260, 277, 268, 264, 296]
        await client.stop()
        waiting[0](Result.SUCCESS, [])  # too late, and harmless
        await peer.stop()

    run(test)


def test_questions_in_flight_are_limited(run: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_IN_FLIGHT", 2)

    async def test() -> None:
        peer, log = Peer(), Log()
        peer.answers[Command.USER_AUTHORIZATION] = lambda _: None
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        asked = [ask(client, UAR) for _ in range(3)]
        answers = [(await answered).reason for answered in asked]
        assert answers == [
            "no answer in 0.1 s",
            "no answer in 0.1 s",
            "overloaded, 2 requests wait for their answers",
        ]
        await client.stop()
        await peer.stop()

    run(test)


def test_peer_that_does_not_read_is_asked_no_more(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        await peer.start()
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        assert peer.writer is not None
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a read transport as well
        big = UserAuthorizationRequest("001010000000001@ims.test", "sip:" + 60_000 * "a", "ims.test")
        for _ in range(1000):
            if not client.is_open:
                break
            client.ask(big, lambda _: None)
        unavailable = await ask(client, UAR)
        assert str(unavailable) == f"{name_of(peer)}: does not read what we send"
        await client.stop()
        await peer.stop()

    run(test)


def test_ipv6(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        peer.address = "::1"
        try:
            await peer.start()
        except OSError:
            pytest.skip("no IPv6 here")
        client = new_client(peer, log=log)
        await client.wait_open(WAIT_S)
        assert client.peers()[0].address == f"[::1]:{peer.port}"
        assert await ask(client, UAR) == UAA
        [cer] = await peer.wait(Command.CAPABILITIES_EXCHANGE)
        assert dictionary.HOST_IP_ADDRESS.octets_in(cer.avps) == b"\0\2" + bytes(15) + b"\1"
        await client.stop()
        await peer.stop()

    run(test)


def test_stop_while_connecting_and_before_start(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        peer, log = Peer(), Log()
        peer.answers[Command.CAPABILITIES_EXCHANGE] = lambda _: None
        await peer.start()
        client = new_client(peer, log=log)
        await client.stop()
        client = new_client(peer, log=log)
        await peer.wait(Command.CAPABILITIES_EXCHANGE)
        await client.stop()
        assert not client.is_open
        unstarted = DiameterClient(settings(peer), Application.CX, clock=SystemClock(), log=log)
        await unstarted.stop()
        await peer.stop()

    run(test)
