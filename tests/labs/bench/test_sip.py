from __future__ import annotations

import json

import pytest

from opencscf.common.sip.head import scanner
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import parse
from opencscf.diameter.codec import decode
from opencscf.diameter.cx import UserAuthorizationRequest
from opencscf.labs import cli
from opencscf.labs.bench import sip


def test_every_piece_of_work_gets_a_figure() -> None:
    figures = sip.measure(iterations=2, rounds=1)
    ((form, cpu_us),) = figures.cpu_us.items()
    assert form == (sip.PURE if scanner is None else sip.NATIVE)
    assert len(cpu_us) == len(sip.STEPS) * len(sip.MESSAGES) + 3
    assert all(figure > 0 for figure in cpu_us.values())


def test_one_column_and_why_without_a_twin() -> None:
    table = sip.Figures("CPython 3.11.2", {sip.PURE: {"parse INVITE": 10.04}}).table()
    assert table.splitlines()[1:] == [f"{'CPU us':<50}Python", f"{'parse INVITE':<52}10.0", sip.NOT_BUILT]


def test_both_forms_side_by_side() -> None:
    table = sip.Figures("CPython", {sip.PURE: {"parse 200": 10.04}, sip.NATIVE: {"parse 200": 1.06}}).table()
    assert table.splitlines()[1:] == [f"{'CPU us':<50}Python    C twin", f"{'parse 200':<52}10.0       1.1"]


@pytest.mark.skipif(scanner is None, reason="the C twin was not built, or is not wanted")
def test_the_python_form_is_measured_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sip.measure(iterations=1, rounds=1)
    monkeypatch.setattr(sip, "measure", lambda: here)
    both = sip.measure_both()
    assert list(both.cpu_us) == [sip.PURE, sip.NATIVE]
    assert list(both.cpu_us[sip.PURE]) == list(both.cpu_us[sip.NATIVE])


@pytest.mark.parametrize("name", sip.MESSAGES)
def test_the_messages_are_well_formed_and_go_on_edited(name: str) -> None:
    received = parse(sip.MESSAGES[name], datagram=False)
    sent = parse(bytes(sip.forwarded(sip.MESSAGES[name])), datagram=False)
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
    monkeypatch.setattr(sip, "measure_both", lambda: measured)
    assert cli.main(["bench", "sip", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["interpreter"].startswith("CPython 3.")
    assert report["cpu_us"] == measured.cpu_us
