"""The benchmark's HSS, asked in the words of our own Cx codec (TS 29.228 6.1 and 6.3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from opencscf.common.ims.aka import Agreement, Usim
from opencscf.common.ims.milenage import derive_opc
from opencscf.diameter import dictionary
from opencscf.diameter.codec import PROXIABLE, REQUEST, DiameterMessage, decode, decode_avps
from opencscf.diameter.cx import (
    LocationInfoRequest,
    MultimediaAuthRequest,
    ServerAssignmentRequest,
    ServerAssignmentType,
    UserAuthorizationRequest,
    UserAuthorizationType,
)
from opencscf.diameter.dictionary import Application, Command
from opencscf.diameter.results import Result
from opencscf.labs.bench.hss import BenchHss, BenchHssTable, HssConnection, make_vectors
from opencscf.labs.bench.scene import DOMAIN, FIRST_IMSI, HSS, OP, K, SimulatedUe

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = BenchHssTable(
    address=HSS, origin_host=f"hss.{DOMAIN}", origin_realm=DOMAIN, first_imsi=FIRST_IMSI, k=K, op=OP, subscribers=10
)
SCSCF = "sip:scscf.example:5060"


def impi(index: int) -> str:
    return f"{SimulatedUe(index).imsi}@{DOMAIN}"


def impu(index: int) -> str:
    return f"sip:{impi(index)}"


def message(question: Any) -> DiameterMessage:
    avps = (dictionary.SESSION_ID.text("session;1"), *decode_avps(question.encode()))
    return DiameterMessage(question.command, Application.CX, REQUEST | PROXIABLE, 7, 8, avps)


@pytest.fixture
def hss() -> BenchHss:
    return BenchHss(TABLE)


@pytest.fixture
def ask(hss: BenchHss) -> Callable[[Any], Any]:
    def ask(question: Any) -> Any:
        answer = decode(hss.answer(message(question)))
        assert (answer.hop_by_hop, answer.end_to_end, answer.flags) == (7, 8, PROXIABLE)
        assert answer.avps[0] == dictionary.SESSION_ID.text("session;1")
        assert dictionary.AUTH_SESSION_STATE.number_in(answer.avps) == 1
        return question.read_answer(answer.avps)

    return ask


def test_a_registration_takes_four_exchanges(ask: Callable[[Any], Any], hss: BenchHss) -> None:
    first = ask(UserAuthorizationRequest(impi(3), impu(3), DOMAIN))
    assert (first.result, first.server_name) == (Result.FIRST_REGISTRATION, None)
    challenge = ask(MultimediaAuthRequest(impi(3), impu(3), SCSCF))
    assert challenge.result == Result.SUCCESS
    second = ask(UserAuthorizationRequest(impi(3), impu(3), DOMAIN))
    assert (second.result, second.server_name) == (Result.SUBSEQUENT_REGISTRATION, SCSCF)
    assigned = ask(ServerAssignmentRequest(impi(3), impu(3), SCSCF, ServerAssignmentType.REGISTRATION))
    assert f"<Identity>{impu(3)}</Identity>".encode() in assigned.user_data
    located = ask(LocationInfoRequest(impu(3)))
    assert (located.result, located.server_name) == (Result.SUCCESS, SCSCF)
    assert hss.status() == {
        "status": "ok", "subscribers": 10, "registered": 1, "UAR": 2, "MAR": 1, "SAR": 1, "LIR": 1,
    }  # fmt: skip


def test_deregistration_forgets_the_scscf(ask: Callable[[Any], Any]) -> None:
    ask(ServerAssignmentRequest(impi(1), impu(1), SCSCF, ServerAssignmentType.REGISTRATION))
    leaving = UserAuthorizationRequest(impi(1), impu(1), DOMAIN, UserAuthorizationType.DE_REGISTRATION)
    assert ask(leaving).result == Result.SUCCESS
    ask(ServerAssignmentRequest(impi(1), impu(1), SCSCF, ServerAssignmentType.USER_DEREGISTRATION))
    assert ask(leaving).result == Result.IDENTITY_NOT_REGISTERED
    assert ask(LocationInfoRequest(impu(1))).result == Result.IDENTITY_NOT_REGISTERED


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(UserAuthorizationRequest(impi(10), impu(10), DOMAIN), id="UAR behind the last subscriber"),
        pytest.param(MultimediaAuthRequest(f"x@{DOMAIN}", impu(1), SCSCF), id="MAR of no IMSI"),
        pytest.param(LocationInfoRequest("tel:+15550000001"), id="LIR of a telephone number"),
        pytest.param(
            ServerAssignmentRequest(None, "sip:1@example.org", SCSCF, ServerAssignmentType.NO_ASSIGNMENT),
            id="SAR of another domain",
        ),
    ],
)
def test_strangers_are_unknown(ask: Callable[[Any], Any], hss: BenchHss, question: Any) -> None:
    assert ask(question).result == Result.USER_UNKNOWN
    assert hss.counts["refused"] == 1


def test_a_usim_accepts_the_vectors_and_sipp_can_use_them() -> None:
    k, opc = bytes.fromhex(K), derive_opc(bytes.fromhex(K), bytes.fromhex(OP))
    usim = Usim(k, opc)
    numbers = iter(range(1, 2000))
    vectors = make_vectors(TABLE, 300, lambda size: next(numbers).to_bytes(size, "big"))
    assert len(vectors) == 300
    for vector in vectors:
        assert 0 not in vector.xres
        assert usim.challenge(vector.rand, vector.autn) == Agreement(vector.xres, vector.ck, vector.ik)


def test_base_protocol(hss: BenchHss) -> None:
    for command in (Command.CAPABILITIES_EXCHANGE, Command.DEVICE_WATCHDOG, Command.DISCONNECT_PEER):
        answer = decode(hss.answer(DiameterMessage(command, 0, REQUEST, 1, 2)))
        assert dictionary.RESULT_CODE.number_in(answer.avps) == 2001
    answer = decode(hss.answer(DiameterMessage(Command.PUSH_PROFILE, Application.CX, REQUEST, 1, 2)))
    assert (answer.is_error, dictionary.RESULT_CODE.number_in(answer.avps)) == (True, 3001)


class Written(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def abort(self) -> None:
        self.is_aborted = True


def test_requests_are_answered_whatever_pieces_they_come_in(hss: BenchHss) -> None:
    transport = Written()
    connection = HssConnection(hss)
    connection.connection_made(transport)
    stream = message(LocationInfoRequest(impu(1))).encode() * 2
    connection.data_received(stream[:30])
    assert transport.data == b""
    connection.data_received(stream[30:])
    assert hss.counts["LIR"] == 2
    assert len(transport.data) == 2 * len(hss.answer(message(LocationInfoRequest(impu(1)))))


def test_a_lost_stream_is_closed(hss: BenchHss, capsys: pytest.CaptureFixture[str]) -> None:
    transport = Written()
    connection = HssConnection(hss)
    connection.connection_made(transport)
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert transport.is_aborted
    assert "the stream is lost" in capsys.readouterr().err
