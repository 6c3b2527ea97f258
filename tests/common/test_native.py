"""Choosing between a C twin and its Python form."""

import importlib.util
import os
import shutil
import sysconfig
import tomllib
from pathlib import Path

import pytest

from opencscf.common import native

ROOT = Path(__file__).parents[2]
TWINS = [
    module["name"]
    for module in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
]
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
CAN_BUILD = shutil.which(COMPILER) is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.skipif(os.environ.get("CI") != "true" or not CAN_BUILD, reason="only CI must have what can be built here")
def test_a_twin_that_can_be_built_is_there(name: str) -> None:
    assert importlib.util.find_spec(name) is not None, "installed without it: see the warnings of pip install -v -e ."


def test_each_c_source_is_built() -> None:
    sources = {".".join(("opencscf", *path.relative_to(ROOT).with_suffix("").parts)) for path in ROOT.glob("*/*/_*.c")}
    assert sources == set(TWINS)


def test_what_was_not_built_has_no_twin() -> None:
    assert native.twin("opencscf.common.no_such_twin") is None


@pytest.mark.parametrize(("value", "is_used"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_the_environment_can_do_without(monkeypatch: pytest.MonkeyPatch, value: str, *, is_used: bool) -> None:
    monkeypatch.setenv(native.PURE_VARIABLE, value)
    assert (native.twin("opencscf.common.errors") is not None) is is_used
