from __future__ import annotations

import json

import pytest

from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import parse
from opencscf.diameter.codec import decode
from opencscf.diameter.cx import UserAuthorizationRequest
from opencscf.labs import cli
from opencscf.labs.bench import sip


def test_every_piece_of_work_gets_a_figure() -> None:
    figures = sip.measure(iterations=2, rounds=1)
    assert len(figures.figures) == 2 * len(sip.MESSAGES) + 3
    assert all(figure.cpu_us > 0 for figure in figures.figures)
    assert len(figures.table().splitlines()) == len(figures.figures) + 2


@pytest.mark.parametrize("name", sip.MESSAGES)
def test_the_messages_are_well_formed_and_go_on_edited(name: str) -> None:
    received = parse(sip.MESSAGES[name], datagram=False)
    sent = parse(sip.forwarded(sip.MESSAGES[name]), datagram=False)
    vias = len(received.values("Via"))
    assert len(sent.values("Via")) == (vias + 1 if isinstance(received, Request) else vias - 1)
    assert sent.body == received.body


def test_a_transaction_is_answered_and_leaves_nothing_behind() -> None:
    transaction = sip.ProxiedTransaction()
    response = parse(transaction())
    assert isinstance(response, Response)
    assert response.status == 200
    assert (transaction.stack.server_transactions, transaction.stack.client_transactions) == (0, 0)


def test_the_uar_is_one() -> None:
    assert UserAuthorizationRequest.from_avps(decode(sip.uar()).avps).impi.startswith("001010000000001@")


def test_json_tells_the_interpreter_and_the_form(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = sip.measure(iterations=1, rounds=1)
    monkeypatch.setattr(sip, "measure", lambda: measured)
    assert cli.main(["bench", "sip", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["form"] == "pure Python"
    assert report["interpreter"].startswith("CPython 3.")
    assert {"name", "cpu_us"} == set(report["figures"][0])
