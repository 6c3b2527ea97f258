"""An I-CSCF with two S-CSCFs, and somebody who answers its questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from opencscf.common.actions import Action, Outcome, Question
from opencscf.common.events import RequestReceived
from opencscf.common.ids import Ids
from opencscf.common.node.settings import ListenSettings, SipSettings
from opencscf.common.sip.message import Request
from opencscf.common.sip.proxy import OwnUris
from opencscf.diameter.settings import DiameterSettings, PeerSettings
from opencscf.icscf.config import IcscfConfig, IcscfTable, ScscfCandidate
from opencscf.icscf.core import ICscf

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
NOW = 1_800_000_000.0

Asked: TypeAlias = list[Question[Any]]
Run: TypeAlias = Callable[..., tuple[Asked, list[Action]]]


def drive(outcome: Outcome, *answers: object) -> tuple[Asked, list[Action]]:
    """Answer a procedure's questions in order; return what it asked and what it did in the end."""
    if isinstance(outcome, list):
        assert not answers
        return [], outcome
    asked: Asked = []
    remaining = list(answers)
    try:
        question = outcome.coroutine.send(None)
        while True:
            asked.append(question)
            assert remaining, f"no answer for {question}"
            answer = remaining.pop(0)
            if isinstance(answer, Exception):
                question = outcome.coroutine.throw(answer)
            else:
                question = outcome.coroutine.send(answer)
    except StopIteration as end:
        assert not remaining
        return asked, end.value


@pytest.fixture
def config() -> IcscfConfig:
    return IcscfConfig(
        sip=SipSettings((ListenSettings("127.0.1.11"),)),
        cx=DiameterSettings(f"icscf.{DOMAIN}", DOMAIN, DOMAIN, (PeerSettings(f"hss.{DOMAIN}", "127.0.1.14"),)),
        icscf=IcscfTable(
            DOMAIN,
            (
                ScscfCandidate(f"sip:scscf.{DOMAIN}:6060", (1,)),
                ScscfCandidate(f"sip:scscf2.{DOMAIN}:6060;transport=tcp", (1, 2)),
            ),
        ),
    )


@pytest.fixture
def icscf(config: IcscfConfig) -> ICscf:
    return ICscf(config, OwnUris.of([(f"icscf.{DOMAIN}", 5060), ("127.0.1.11", 5060)]), Ids(seed=1))


@pytest.fixture
def run(icscf: ICscf) -> Run:
    """Give the I-CSCF a request, and answers to what it asks."""

    def run(request: Request, *answers: object) -> tuple[Asked, list[Action]]:
        return drive(icscf.on_event(RequestReceived(request, NOW)), *answers)

    return run
