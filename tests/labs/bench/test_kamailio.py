from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from opencscf.common.errors import StartupError
from opencscf.labs.bench import kamailio
from opencscf.labs.bench.kamailio import find_kamailio, version_of, write_settings

if TYPE_CHECKING:
    from pathlib import Path


def test_settings_have_no_word_left(tmp_path: Path) -> None:
    write_settings(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"pcscf.cfg", "icscf.cfg", "scscf.cfg", "scscf.xml", "s_cscf", "version"}
    for path in files:
        assert not re.search(r"@[a-z_]+@", path.read_text().replace("The words between @", "")), path
    assert "listen = udp:127.193.0.12:5060" in (tmp_path / "scscf.cfg").read_text()
    assert r"sip\:127.193.0.12\:5060" in (tmp_path / "tables" / "s_cscf").read_text()
    assert ET.parse(tmp_path / "icscf.xml").getroot().tag == "DiameterPeer"  # noqa: S314 our own file


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ("version: kamailio 5.6.3 (x86_64/linux) \nflags: USE_TCP", "5.6.3"),
        ("version: kamailio 5.8.0-dev1 (x86_64/linux)", "5.8.0-dev1"),
        ("", "of unknown version"),
    ],
)
def test_version_is_read_from_its_own_words(words: str, version: str) -> None:
    assert version_of(words) == version


def test_missing_kamailio_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(StartupError, match=r"^kamailio is missing: apt-get install kamailio kamailio-ims-modules "):
        find_kamailio()


def test_missing_modules_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/sbin/kamailio")
    monkeypatch.setattr(kamailio, "MODULE_FOLDERS", (str(tmp_path),))
    with pytest.raises(StartupError, match=r"^kamailio has no module ims_icscf: apt-get install kamailio "):
        find_kamailio()
