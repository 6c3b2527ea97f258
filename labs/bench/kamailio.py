"""Kamailio's three IMS CSCFs, as Debian packages them, with the settings in `kamailio_settings` beside this file.

Facts that the settings rest on: kamailio.org's module documentation for 5.6, and what 5.6.3 does beyond it, which is
noted where it matters.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import StartupError
from opencscf.labs.bench.children import find_program, spawn, stop
from opencscf.labs.bench.load import fill
from opencscf.labs.bench.scene import CSCFS, DIAMETER_PORT, DOMAIN, HSS, SIP_PORT, sip_uri
from opencscf.labs.processes import last_line

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS: Final = Path(__file__).parent / "kamailio_settings"
PACKAGES: Final = "apt-get install kamailio kamailio-ims-modules kamailio-presence-modules"
MODULE_FOLDERS: Final = ("/usr/lib/*/kamailio/modules", "/usr/lib/kamailio/modules", "/usr/lib64/kamailio/modules")
NEEDED_MODULES: Final = ("ims_icscf", "ims_registrar_scscf", "ims_registrar_pcscf", "cdp", "presence", "ctl", "db_text")
SHARED_MIB: Final = 1024  # per CSCF; the default of 64 is full after some thousand users
PRIVATE_MIB: Final = 16
RECEIVE_BUFFER: Final = 4 << 20  # what our nodes ask for too; with the default of 256 KiB it loses packets
WORKERS: Final = 2
START_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Installation:
    """The Kamailio of this machine."""

    program: str
    version: str


def find_kamailio() -> Installation:
    """Find Kamailio and the modules that are needed, or say where they come from."""
    program = find_program("kamailio")
    if program is None:
        raise StartupError(f"kamailio is missing: {PACKAGES}")
    folders = [folder for pattern in MODULE_FOLDERS for folder in Path("/").glob(pattern[1:])]
    for module in NEEDED_MODULES:
        if not any((folder / f"{module}.so").exists() for folder in folders):
            raise StartupError(f"kamailio has no module {module}: {PACKAGES}")
    words = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=10).stdout
    return Installation(program, version_of(words))


def version_of(words: str) -> str:
    """Read the version out of what `kamailio -v` says."""
    found = re.search(r"kamailio (\d[\w.~+-]*)", words)
    return found[1] if found else "of unknown version"


class Kamailio:
    """The three CSCFs; `allocator` is what -x and -X get, None for the one that the build prefers."""

    def __init__(self, folder: Path, allocator: str | None) -> None:
        self._folder = folder
        self._allocator = ("-x", allocator, "-X", allocator) if allocator else ()
        self._program = find_kamailio().program
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The main process of each CSCF."""
        return {name: process.pid for name, process in self._processes.items()}

    async def start(self) -> None:
        """Start all three; return when they listen. Whether they know the HSS is the HSS's to say."""
        write_settings(self._folder)
        for name in CSCFS:
            log = self._folder / f"{name}.log"
            self._processes[name] = await spawn(
                self._command(name),
                self._folder,
                log,
                at_our_end=signal.SIGTERM,  # it is the main process that ends its children
                is_kept_from_networking=True,  # ims_ipsec_pcscf would clear this machine's security associations
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(map(_listens, CSCFS.values())):
            self.check()
            if time.monotonic() > deadline:
                raise StartupError(f"kamailio did not listen in {START_TIMEOUT_S:g} s")
            await asyncio.sleep(0.1)

    def check(self) -> None:
        """Raise `StartupError` if one has ended."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                words = last_line(self._folder / f"{name}.log")
                raise StartupError(f"kamailio's {name} ended with status {process.returncode}: {words}")

    async def stop(self) -> None:
        """End all three; one that speaks Diameter sometimes has to be forced."""
        await asyncio.gather(*map(stop, self._processes.values()))

    async def shared_bytes(self) -> int | None:
        """Ask how much shared memory is in use by all three."""
        asker = find_program("kamcmd")
        total = 0
        for name in CSCFS if asker else ():
            asking = await asyncio.create_subprocess_exec(
                str(asker), "-s", f"unix:{self._folder}/{name}.ctl", "core.shmmem",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            words, _ = await asking.communicate()
            used = re.search(rb"real_used: (\d+)", words)
            if used is None:
                return None
            total += int(used[1])
        return total or None

    def _command(self, name: str) -> Sequence[str]:
        return [
            self._program, "-f", str(self._folder / f"{name}.cfg"), "-DD", "-E", "-w", str(self._folder),
            "-m", str(SHARED_MIB), "-M", str(PRIVATE_MIB), "-b", str(RECEIVE_BUFFER), *self._allocator,
        ]  # fmt: skip


def write_settings(folder: Path) -> None:
    """Write what the three CSCFs read."""
    for number, (name, address) in enumerate(CSCFS.items()):
        words = {
            "name": name, "address": address, "port": str(SIP_PORT), "domain": DOMAIN, "run": str(folder),
            "workers": str(WORKERS), "diameter_workers": str(WORKERS),
            "hss": HSS, "hss_port": str(DIAMETER_PORT), "diameter_port": str(DIAMETER_PORT + 1 + number),
            "icscf": sip_uri("icscf"), "scscf": sip_uri("scscf"),
            "scscf_escaped": sip_uri("scscf").replace(":", r"\:"),  # db_text's separator
        }  # fmt: skip
        text = fill(SETTINGS / "common.cfg", words) + fill(SETTINGS / f"{name}.cfg", words)
        (folder / f"{name}.cfg").write_text(text, encoding="utf-8")
        (folder / f"{name}.xml").write_text(fill(SETTINGS / "cdp.xml", words), encoding="utf-8")
        (folder / "tables").mkdir(exist_ok=True)
        for table in (SETTINGS / "tables").iterdir():
            (folder / "tables" / table.name).write_text(fill(table, words), encoding="utf-8")


def _listens(address: str) -> bool:
    """Look for the address and the SIP port among the UDP sockets of this machine, as /proc writes them."""
    octets = bytes(map(int, address.split(".")))
    socket = f" {int.from_bytes(octets, 'little'):08X}:{SIP_PORT:04X} "
    return socket in Path("/proc/net/udp").read_text(encoding="ascii")
