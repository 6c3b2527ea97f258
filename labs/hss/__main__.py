"""The HSS as a process: `python -m opencscf.labs.hss --config hss.toml`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from opencscf.common.ids import Ids
from opencscf.labs.diameter_process import Service, run
from opencscf.labs.hss.config import HssSettings, load_hss
from opencscf.labs.hss.cx import CxApplication
from opencscf.labs.hss.database import Database

if TYPE_CHECKING:
    from opencscf.labs.diameter_peer import Reporter


def build(settings: HssSettings, report: Reporter) -> Service:
    """Open the database, bring it up to date with the settings, and serve it."""
    database = Database(settings.hss.database)
    database.provision(settings.subscriptions())
    database.start()
    report.event("info", "subscribers-loaded", subscribers=len(database.by_impi))

    def status() -> dict[str, object]:
        states = Counter(subscription.state.name.lower() for subscription in database.by_impi.values())
        return {"subscribers": len(database.by_impi), "registered": states["registered"]}

    application = CxApplication(settings, database, Ids(), report)
    return Service(settings.hss, application, status, database.close)


def main() -> int:
    """Run the HSS."""
    return run("hss", load_hss, build)


if __name__ == "__main__":
    sys.exit(main())
