"""The PCRF as a process: `python -m opencscf.labs.pcrf --config pcrf.toml`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opencscf.labs.diameter_process import Service, run
from opencscf.labs.pcrf.config import PcrfSettings, load_pcrf
from opencscf.labs.pcrf.rx import RxApplication

if TYPE_CHECKING:
    from opencscf.labs.diameter_peer import Reporter


def build(settings: PcrfSettings, report: Reporter) -> Service:
    """Serve Rx with no session open."""
    application = RxApplication(settings, report)

    def status() -> dict[str, object]:
        return {"sessions": len(application.sessions)}

    return Service(settings.pcrf, application, status, lambda: None)


def main() -> int:
    """Run the PCRF."""
    return run("pcrf", load_pcrf, build)


if __name__ == "__main__":
    sys.exit(main())
