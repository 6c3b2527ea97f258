"""An HSS in memory, asked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from opencscf.common.config import loads
from opencscf.common.ids import Ids
from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Avp, Received, make
from opencscf.labs.diameter_peer import LocalNode, vendor_specific_application
from opencscf.labs.hss.config import HssSettings
from opencscf.labs.hss.cx import CxApplication
from opencscf.labs.hss.database import Database

REALM = "ims.mnc001.mcc001.3gppnetwork.org"
SETTINGS = f"""
[hss]
address = "127.0.0.1"
origin_host = "hss.{REALM}"
origin_realm = "{REALM}"
database = "hss.db"
[[subscriber]]
imsi = "001010000000001"
msisdn = "15550000001"
k = "fec86ba6eb707ed08905757b1bb44b8f"
op = "dbc59adcb6f9a0ef735477b7fadf8374"
password = "secret"
[[subscriber]]
imsi = "001010000000002"
msisdn = "15550000002"
k = "fec86ba6eb707ed08905757b1bb44b8f"
opc = "1006020f0a478bf6b699f15c062e42b3"
"""


class Reports(list[tuple[str, str, dict[str, object]]]):
    """Remembers what was reported."""

    def event(self, level: str, event: str, **fields: object) -> None:
        self.append((level, event, fields))


class Hss(Protocol):
    settings: HssSettings
    database: Database
    reports: Reports

    def ask(self, command: int, *avps: Avp) -> Received: ...


class HssInMemory:
    def __init__(self, extra: str, path: Path | str) -> None:
        self.settings = loads(SETTINGS.replace("[[subscriber]]", f"{extra}\n[[subscriber]]", 1), HssSettings, Path("t"))
        self.reports = Reports()
        self.database = Database(path)
        self.database.provision(self.settings.subscriptions())
        self.database.start()
        table = self.settings.hss
        application = CxApplication(self.settings, self.database, Ids(seed=1), self.reports)
        self.node = LocalNode(
            application,
            origin_host=table.origin_host,
            origin_realm=table.origin_realm,
            address=table.address,
            report=self.reports,
        )

    def ask(self, command: int, *avps: Avp) -> Received:
        header = codec.request_header(command, 1, 2, codec.CX_APPLICATION)
        common = [
            make(codec.SESSION_ID, "scscf;1;2"),
            vendor_specific_application(codec.CX_APPLICATION),
            make(codec.AUTH_SESSION_STATE, 1),
            make(codec.ORIGIN_HOST, f"scscf.{REALM}".encode()),
            make(codec.ORIGIN_REALM, REALM.encode()),
            make(codec.DESTINATION_REALM, REALM.encode()),
        ]
        answer = codec.decode(self.node.answer(codec.decode(codec.encode(header, [*common, *avps]))))
        assert self.node.application.commit()
        return answer


class MakeHss(Protocol):
    def __call__(self, extra: str = "", path: Path | str = ":memory:") -> Hss: ...


@pytest.fixture
def make_hss() -> MakeHss:
    """Make an HSS; `extra` are more lines of its [hss] table."""

    def make_one(extra: str = "", path: Path | str = ":memory:") -> Hss:
        return HssInMemory(extra, path)

    return make_one


@pytest.fixture
def hss(make_hss: MakeHss) -> Hss:
    return make_hss()
