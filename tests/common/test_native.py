"""Choosing between a C twin and its Python form."""

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
    assert native.is_current(name), "installed without it: see the warnings of pip install -v -e ."


def test_each_c_source_is_built() -> None:
    sources = {".".join(("opencscf", *path.relative_to(ROOT).with_suffix("").parts)) for path in ROOT.glob("*/*/_*.c")}
    assert sources == set(TWINS)


def test_what_was_not_built_has_no_twin() -> None:
    assert native.twin("opencscf.common.no_such_twin") is None


@pytest.mark.parametrize(("value", "is_used"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_the_environment_can_do_without(monkeypatch: pytest.MonkeyPatch, value: str, *, is_used: bool) -> None:
    monkeypatch.setenv(native.PURE_VARIABLE, value)
    assert (native.twin("opencscf.common.errors") is not None) is is_used


@pytest.mark.parametrize(("age_s", "is_used"), [(-10, True), (0, True), (10, False)])
def test_what_was_built_of_an_older_source_is_no_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: int, *, is_used: bool
) -> None:
    built, source = tmp_path / f"_aged{age_s + 10}.py", tmp_path / f"_aged{age_s + 10}.c"
    for path, when in ((built, 1_800_000_000), (source, 1_800_000_000 + age_s)):
        path.touch()
        os.utime(path, (when, when))
    monkeypatch.syspath_prepend(tmp_path)
    assert (native.twin(built.stem) is not None) is is_used
