"""The lab's HSS and PCRF asked by the nodes' own Diameter client over TCP: two independent codecs meet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import PeerUnavailable, StartupError
from opencscf.common.ids import Ids
from opencscf.common.ims.aka import Agreement, SyncFailure, Usim
from opencscf.common.node.clock import SystemClock
from opencscf.diameter import cx, rx
from opencscf.diameter.connection import DiameterClient
from opencscf.diameter.dictionary import Application
from opencscf.diameter.results import Result
from opencscf.diameter.settings import DiameterSettings, PeerSettings
from opencscf.labs.diameter_peer import LocalNode
from opencscf.labs.diameter_server import DiameterServer
from opencscf.labs.hss.config import HssSettings
from opencscf.labs.hss.cx import CxApplication
from opencscf.labs.hss.database import Database
from opencscf.labs.pcrf.config import PcrfSettings
from opencscf.labs.pcrf.rx import RxApplication

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opencscf.common.actions import Question

A = TypeVar("A")

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
HSS = f"""
[hss]
address = "127.0.0.1"
origin_host = "hss.test"
origin_realm = "{DOMAIN}"
database = "unused"
mandatory_capabilities = [1]
[[subscriber]]
imsi = "001010000000001"
msisdn = "15550000001"
k = "fec86ba6eb707ed08905757b1bb44b8f"
op = "dbc59adcb6f9a0ef735477b7fadf8374"
"""
PCRF = f"""
[pcrf]
address = "127.0.0.1"
origin_host = "pcrf.test"
origin_realm = "{DOMAIN}"
"""
IMPI = f"001010000000001@{DOMAIN}"
IMPU = f"sip:001010000000001@{DOMAIN}"
SCSCF = f"sip:scscf.{DOMAIN}:5060"
USIM_KEYS = (bytes.fromhex("fec86ba6eb707ed08905757b1bb44b8f"), bytes.fromhex("1006020f0a478bf6b699f15c062e42b3"))


class Reports(list[tuple[str, str, dict[str, object]]]):
    def event(self, level: str, event: str, **fields: object) -> None:
        self.append((level, event, fields))


class Peer:
    """A server and a client of it."""

    def __init__(self, application: CxApplication | RxApplication, number: Application, reports: Reports) -> None:
        self.reports = reports
        self.node = LocalNode(
            application, origin_host="peer.test", origin_realm=DOMAIN, address="127.0.0.1", report=reports
        )
        self.number = number
        self.server = DiameterServer(self.node, SystemClock())

    async def use(self, talk: Callable[[Peer], Awaitable[None]]) -> None:
        await self.server.start("127.0.0.1", 0)
        settings = DiameterSettings(
            origin_host="cscf.test",
            origin_realm=DOMAIN,
            destination_realm=DOMAIN,
            peers=(PeerSettings("peer.test", "127.0.0.1", self.server.port),),
        )
        self.client = DiameterClient(settings, self.number, clock=SystemClock(), log=self.reports)
        self.client.start()
        try:
            await self.client.wait_open(5.0)
            await talk(self)
        finally:
            await self.client.stop()
            await self.server.close()

    async def ask(self, question: Question[A]) -> A:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()  # of the question's answer type
        self.client.ask(question, answered.set_result)  # type: ignore[arg-type]  # every Cx and Rx question fits
        answer = await asyncio.wait_for(answered, 5.0)
        if isinstance(answer, PeerUnavailable):
            raise answer
        return answer  # type: ignore[no-any-return]


def _hss() -> Peer:
    settings = loads(HSS, HssSettings, Path("hss.toml"))
    database = Database(":memory:")
    database.provision(settings.subscriptions())
    database.start()
    reports = Reports()
    return Peer(CxApplication(settings, database, Ids(seed=1), reports), Application.CX, reports)


def _pcrf() -> Peer:
    reports = Reports()
    return Peer(RxApplication(loads(PCRF, PcrfSettings, Path("pcrf.toml")), reports), Application.RX, reports)


async def _register(hss: Peer) -> None:
    usim = Usim(*USIM_KEYS, sqn_ms=1000 << 5)
    uaa = await hss.ask(cx.UserAuthorizationRequest(IMPI, IMPU, DOMAIN))
    assert uaa.result == Result.FIRST_REGISTRATION
    assert uaa.capabilities == cx.ServerCapabilities(mandatory=frozenset({1}))
    maa = await hss.ask(cx.MultimediaAuthRequest(IMPI, IMPU, SCSCF))
    (vector,) = maa.vectors
    failure = usim.challenge(vector.rand, vector.autn)
    assert isinstance(failure, SyncFailure)
    maa = await hss.ask(cx.MultimediaAuthRequest(IMPI, IMPU, SCSCF, resync=vector.rand + failure.auts))
    (vector,) = maa.vectors
    assert usim.challenge(vector.rand, vector.autn) == Agreement(vector.xres, vector.ck, vector.ik)
    uaa = await hss.ask(cx.UserAuthorizationRequest(IMPI, IMPU, DOMAIN))
    assert uaa.server_name == SCSCF
    saa = await hss.ask(cx.ServerAssignmentRequest(IMPI, IMPU, SCSCF, cx.ServerAssignmentType.REGISTRATION))
    assert saa.result.is_success
    assert IMPU.encode() in (saa.user_data or b"")
    lia = await hss.ask(cx.LocationInfoRequest("tel:+15550000001"))
    assert lia.server_name == SCSCF


async def _refusals(hss: Peer) -> None:
    uaa = await hss.ask(cx.UserAuthorizationRequest(f"1@{DOMAIN}", IMPU, DOMAIN))
    assert not uaa.result.is_success
    lia = await hss.ask(cx.LocationInfoRequest(IMPU))
    assert lia.result == Result.IDENTITY_NOT_REGISTERED


async def _call(pcrf: Peer) -> None:
    flows = (
        "permit in 17 from 10.45.0.2 50000 to 203.0.113.9 40000",
        "permit out 17 from 203.0.113.9 40000 to 10.45.0.2 50000",
    )
    audio = rx.MediaComponent(1, rx.MediaType.AUDIO, (rx.MediaSubComponent(1, flows),), 49000, 49000)
    aaa = await pcrf.ask(rx.AaRequest("pcscf;1;2", "10.45.0.2", IMPU, (audio,), af_charging_identifier="icid"))
    assert aaa.result.is_success
    application = pcrf.node.application
    assert isinstance(application, RxApplication)
    assert application.sessions["pcscf;1;2"].components == {1: flows}
    for is_known in (True, False):
        sta = await pcrf.ask(rx.SessionTerminationRequest("pcscf;1;2"))
        assert sta.result.is_success == is_known


@pytest.mark.parametrize(
    ("make_peer", "talk"),
    [
        pytest.param(_hss, _register, id="UAR, MAR with resynchronisation, SAR, LIR"),
        pytest.param(_hss, _refusals, id="Cx refusals"),
        pytest.param(_pcrf, _call, id="AAR, STR"),
    ],
)
def test_nodes_client(make_peer: Callable[[], Peer], talk: Callable[[Peer], Awaitable[None]]) -> None:
    peer = make_peer()
    asyncio.run(peer.use(talk))
    assert not [report for report in peer.reports if report[0] == "error"]
    assert not peer.server.connections


def test_port_before_start() -> None:
    with pytest.raises(StartupError, match="does not listen"):
        _ = _pcrf().server.port


async def _lose_the_database(hss: Peer) -> None:
    application = hss.node.application
    assert isinstance(application, CxApplication)
    application._database._sql.close()
    maa = await hss.ask(cx.MultimediaAuthRequest(IMPI, IMPU, SCSCF))
    assert maa.result == Result.UNABLE_TO_COMPLY


def test_database_that_fails() -> None:
    hss = _hss()
    asyncio.run(hss.use(_lose_the_database))
    assert [event for level, event, _ in hss.reports if level == "error"] == ["database-failed"]
