"""Choosing between a C twin and its Python form."""

import pytest

from opencscf.common import native


def test_what_was_not_built_has_no_twin() -> None:
    assert native.twin("opencscf.common.no_such_twin") is None


@pytest.mark.parametrize(("value", "is_used"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_the_environment_can_do_without(monkeypatch: pytest.MonkeyPatch, value: str, *, is_used: bool) -> None:
    monkeypatch.setenv(native.PURE_VARIABLE, value)
    assert (native.twin("opencscf.common.errors") is not None) is is_used
