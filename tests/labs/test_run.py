"""labs/run and tests/run in a host of stand-ins: what they do on which machine, without touching this one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ("labs/run", "labs/venv.sh", "tests/run")
TOOLS = (
    "sh",
    "cat",
    "cksum",
    "date",
    "dirname",
    "env",
    "grep",
    "mkdir",
    "mktemp",
    "rm",
    "sed",
    "tail",
    "tee",
    "touch",
    "true",
)

# python3 here knows versions, venv (once apt-get has installed it), pip and the checkers, and writes down what it was
# asked for. The checker named by FAILING complains.
PYTHON = """#!/bin/sh
echo "python $*" >>"$HOST/asked"
case "$*" in
*version_info*) exit "${PYTHON_TOO_OLD:-0}" ;;
*--version*) echo "Python 3.11.2" ;;
*sysconfig*) [ ! -e "$HOST/has-headers" ] || echo twins ;;
*'import pip'*) exit 0 ;;
*'-m venv'*)
    [ -e "$HOST/has-venv" ] || { echo "ensurepip is not available"; exit 1; }
    for target; do :; done
    mkdir -p "$target/bin"; cat "$0" >"$target/bin/python"; chmod +x "$target/bin/python" ;;
*'-m pip install'*)
    [ -z "${PIP_FAILS:-}" ] || { echo "ERROR: no route to host"; exit 1; }
    echo "Collecting h11>=0.14"
    printf '#!/bin/sh\\necho "opencscf $*"\\n' >"${0%python}opencscf"; chmod +x "${0%python}opencscf" ;;
"-P -m ${FAILING:-nothing}"*) exit 1 ;;
esac
"""
APT_GET = '#!/bin/sh\necho "apt-get $*" >>"$HOST/asked"\ncase "$*" in *install*) touch "$HOST/has-venv" ;; esac\n'
SUDO = '#!/bin/sh\necho "sudo $1" >>"$HOST/asked"\nexec "$@"\n'


class Host:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.repository = folder / "a repository"
        self.bin.mkdir()
        for script in SCRIPTS:
            (self.repository / script).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / script, self.repository / script)
        (self.repository / "pyproject.toml").write_text("[project]\n")
        (self.repository / "common/sip").mkdir(parents=True)
        (self.repository / "common/sip/_scan.c").write_text("")
        for tool in (*TOOLS, "chmod"):
            (self.bin / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        self.add("python3", PYTHON)
        self.add("apt-get", APT_GET)
        self.add("id", "#!/bin/sh\necho 0\n")
        for program in ("dnsmasq", "openssl"):  # which this machine may or may not have
            self.add(program, "#!/bin/sh\n")

    def add(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.start("labs/run", *arguments, **environment)

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "asked").write_text("")
        return subprocess.run(
            [self.repository / script, *arguments],
            env={"PATH": str(self.bin), "HOST": str(self.folder), "TMPDIR": str(self.folder), **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self, what: str) -> int:
        return sum(what in line for line in self.lines())

    def lines(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()

    def checks(self) -> list[str]:
        return [line.removeprefix("python -P -m ") for line in self.lines() if line.startswith("python -P -m ")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_fresh_debian_gets_venv_from_debian_and_then_the_lab(host: Host) -> None:
    done = host.run("--once")
    assert done.returncode == 0, done.stderr
    steps = [line.split("] ")[1] for line in done.stdout.splitlines() if line.startswith("[")]
    assert steps == [
        "creating .venv with Python 3.11.2",
        "installing from Debian: python3-venv",
        "installing opencscf and what it needs into .venv",
        "installed",
    ]
    assert "        h11>=0.14\n" in done.stdout
    assert done.stdout.endswith("opencscf lab run --once\n")
    assert not list(host.folder.glob("tmp.*"))  # no log is left behind


def test_apt_get_is_not_asked_when_venv_works(host: Host) -> None:
    (host.folder / "has-venv").touch()
    assert host.run().returncode == 0
    assert host.asked("apt-get") == 0


def test_a_changed_c_source_and_a_new_compiler_install_again(host: Host) -> None:
    host.run()
    (host.repository / "common/sip/_scan.c").write_text("/* changed */")
    host.run()
    assert host.asked("pip install") == 1
    host.add("cc", "#!/bin/sh\n")
    host.run()
    assert host.asked("pip install") == 0, "a compiler without Python's headers builds nothing"
    (host.folder / "has-headers").touch()
    host.run()
    assert host.asked("pip install") == 1
    host.run()
    assert host.asked("pip install") == 0


def test_second_run_starts_at_once_and_a_changed_pyproject_installs_again(host: Host) -> None:
    host.run()
    assert host.run("--help").stdout == "opencscf lab run --help\n"
    assert host.asked("pip install") == 0
    (host.repository / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    assert host.run().returncode == 0
    assert host.asked("pip install") == 1
    assert host.asked("-m venv") == 0


def test_other_users_go_through_sudo(host: Host) -> None:
    host.add("id", "#!/bin/sh\necho 1000\n")
    host.add("sudo", SUDO)
    assert host.run().returncode == 0
    assert host.asked("sudo apt-get") == 1


def test_without_root_and_sudo_it_says_what_to_install(host: Host) -> None:
    host.add("id", "#!/bin/sh\necho 1000\n")
    done = host.run()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("run as root: apt-get install python3-venv")
    assert not (host.repository / ".venv").exists()


def test_failing_pip_is_quoted_and_tried_again_next_time(host: Host) -> None:
    done = host.run(PIP_FAILS="1")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "    ERROR: no route to host",
        "labs/run: pip could not install the project, see the lines above",
    ]
    assert host.run().returncode == 0


def test_old_python_is_named(host: Host) -> None:
    done = host.run(PYTHON_TOO_OLD="1")
    assert done.returncode == 1
    assert done.stderr == "labs/run: needs Python 3.11 or newer; python3 here is: Python 3.11.2\n"


CHECKS = ["ruff format --check --quiet .", "ruff check --quiet .", "mypy"]


@pytest.fixture
def test_host(host: Host) -> Host:
    (host.folder / "has-venv").touch()
    return host


def test_tests_run_installs_what_real_peers_need_then_checks_then_tests(test_host: Host) -> None:
    done = test_host.start("tests/run")
    assert done.returncode == 0, done.stderr
    assert test_host.asked("apt-get install") == 1
    assert test_host.lines()[1].endswith("--no-install-recommends sip-tester tshark tcpdump")
    assert any(line.endswith("a repository[test]") for line in test_host.lines())
    assert test_host.checks() == [*CHECKS, "pytest"]


def test_programs_that_are_there_are_not_installed_again(test_host: Host) -> None:
    for program in ("sipp", "tcpdump"):
        test_host.add(program, "#!/bin/sh\n")
    assert test_host.start("tests/run").returncode == 0
    assert test_host.lines()[1].endswith("--no-install-recommends tshark")


def test_quick_leaves_debian_and_the_processes_alone(test_host: Host) -> None:
    assert test_host.start("tests/run", "--quick", "--", "-k", "via").returncode == 0
    assert test_host.asked("apt-get") == 0
    assert test_host.checks() == [*CHECKS, "pytest --ignore=tests/processes -k via"]


def test_quick_without_venv_says_what_to_install(host: Host) -> None:
    done = host.start("tests/run", "--quick")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("as root: apt-get install python3-venv")
    assert host.asked("apt-get") == 0


@pytest.mark.parametrize("failing", ["ruff", "mypy", "pytest"])
def test_every_check_is_run_and_any_complaint_fails_the_run(test_host: Host, failing: str) -> None:
    done = test_host.start("tests/run", "--quick", FAILING=failing)
    assert done.returncode == 1
    assert done.stderr.startswith("tests/run: failed: ")
    assert failing in done.stderr
    assert len(test_host.checks()) == 4


def test_the_lab_uses_what_the_tests_have_installed_and_not_the_other_way_round(test_host: Host) -> None:
    test_host.start("tests/run", "--quick")
    test_host.run()
    assert test_host.asked("pip install") == 0
    (test_host.repository / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    test_host.run()
    test_host.start("tests/run", "--quick")
    assert test_host.asked("pip install") == 1


def test_unknown_option_is_named(host: Host) -> None:
    done = host.start("tests/run", "--quik")
    assert done.returncode == 1
    assert done.stderr.startswith("tests/run: unknown option --quik")
    assert host.lines() == []


def test_without_root_and_sudo_tests_run_says_what_to_install(host: Host) -> None:
    host.add("id", "#!/bin/sh\necho 1000\n")
    done = host.start("tests/run")
    assert done.returncode == 1
    assert done.stderr.endswith("run as root: apt-get install sip-tester tshark tcpdump\n")


def test_without_root_and_sudo_tests_run_cannot_capture(test_host: Host) -> None:
    test_host.add("id", "#!/bin/sh\necho 1000\n")
    for program in ("sipp", "tshark", "tcpdump"):
        test_host.add(program, "#!/bin/sh\n")
    done = test_host.start("tests/run")
    assert done.returncode == 1
    assert done.stderr == "tests/run: capturing on loopback needs root or sudo; tests/run --quick does without\n"
