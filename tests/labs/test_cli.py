from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from opencscf.labs.cli import default_directory, main
from opencscf.labs.config import DEFAULT_LAB, load_lab
from opencscf.labs.subscriber_table import subscriber_table

if TYPE_CHECKING:
    from pathlib import Path

GOOD = DEFAULT_LAB.read_text(encoding="utf-8")


@pytest.fixture
def lab_file(tmp_path: Path) -> Path:
    """Place a lab on addresses of its own, so that it disturbs no other lab of this machine."""
    path = tmp_path / "lab.toml"
    path.write_text(
        GOOD.replace("127.0.1.", "127.0.71.").replace("# addresses", "addresses").replace("127.0.2.", "127.0.72.")
    )
    return path


def test_check_finds_no_fault_in_the_labs_own_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "check"]) == 0
    assert capsys.readouterr().out.endswith("lab.toml: no fault found\n")


def test_all_faults_come_at_once_one_line_each(lab_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab_file.write_text(GOOD.replace('mcc = "001"', "mcc = 1").replace("[rx]", "[rxx]"))
    for command in (["check"], ["run", "--once"], ["render"]):
        assert main(["lab", *command, "--config", str(lab_file)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"{lab_file}: ") for line in lines)


def test_absent_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "check", "--config", str(tmp_path / "absent.toml")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/absent.toml: cannot be read: No such file or directory\n"


def test_render_writes_five_files(lab_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "render", "--config", str(lab_file), "--dir", str(tmp_path / "run")]) == 0
    written = capsys.readouterr().out.splitlines()
    assert sorted(written) == [f"{tmp_path}/run/{name}.toml" for name in ("hss", "icscf", "pcrf", "pcscf", "scscf")]


def test_busy_port_ends_the_run_before_anything_starts(
    lab_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.71.12", 5060))
        assert main(["lab", "run", "--once", "--config", str(lab_file), "--dir", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == "opencscf: scscf: 127.0.71.12:5060/udp: is in use by another process\n"


def test_second_lab_in_a_directory_is_refused(lab_file: Path, tmp_path: Path) -> None:
    lock = """
import fcntl, sys
with open(sys.argv[1], "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print(flush=True)
    sys.stdin.read()
"""
    arguments = [sys.executable, "-c", lock, str(tmp_path / "lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "opencscf.labs.cli",
                "lab",
                "run",
                "--config",
                str(lab_file),
                "--dir",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        other.communicate()
    assert run.returncode == 1
    assert run.stderr == f"opencscf: lab: another lab runs in {tmp_path}; stop it, or choose another --dir\n"


@pytest.mark.parametrize("arguments", [[], ["lab"], ["lab", "fly"], ["lab", "run", "--twice"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: opencscf" in capsys.readouterr().err


def test_help_is_quick_because_it_loads_no_sip() -> None:
    code = "import sys, opencscf.labs.cli; sys.exit('asyncio' in sys.modules or 'opencscf.labs.lab' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_state_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "opencscf" / "lab"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(default_directory()) == "/home/somebody/.local/state/opencscf/lab"


def test_table_has_all_a_client_needs_in_120_columns() -> None:
    lines = subscriber_table(load_lab(DEFAULT_LAB))
    assert all(len(line) <= 120 for line in lines)
    text = "\n".join(lines)
    for expected in (
        "127.0.1.10:5060",
        "ims.mnc001.mcc001.3gppnetwork.org",
        "001010000000002@ims.mnc001.mcc001.3gppnetwork.org",
        "sip:15550000001@ims.mnc001.mcc001.3gppnetwork.org",
        "tel:+15550000002",
        "fec86ba6eb707ed08905757b1bb44b8f",
        "1006020f0a478bf6b699f15c062e42b3",  # OPc of TS 35.208 set 3
        "lab-secret-2",
    ):
        assert expected in text
