import json

import pytest

from opencscf.common.transport.batch import forms
from opencscf.labs import cli
from opencscf.labs.bench import wire


def test_every_form_gets_its_figures() -> None:
    figures = wire.measure(datagrams=100, rounds=1)
    assert [(figure.form, figure.in_flight) for figure in figures] == [(f, n) for f in forms() for n in wire.IN_FLIGHT]
    assert all(figure.cpu_us > 0 for figure in figures)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_figures_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    measured = wire.measure(datagrams=10, rounds=1)
    monkeypatch.setattr(wire, "measure", lambda: measured)
    assert cli.main(["bench", "wire", *options]) == 0
    told = capsys.readouterr().out
    if options:
        assert {"form", "in_flight", "cpu_us"} == set(json.loads(told)["figures"][0])
    else:
        assert len(told.splitlines()) == 1 + len(measured)
