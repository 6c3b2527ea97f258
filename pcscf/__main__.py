"""The P-CSCF as a process: `pcscf --config pcscf.toml`."""

import sys

from opencscf.common.node.process import Client, Context, Node, run
from opencscf.diameter.connection import DiameterClient
from opencscf.diameter.dictionary import Application
from opencscf.diameter.rx import AaRequest, SessionTerminationRequest
from opencscf.pcscf.config import PcscfConfig
from opencscf.pcscf.core import PCscf
from opencscf.pcscf.state import BINDING


def build(config: PcscfConfig, context: Context) -> Node:
    """Wire shell to core. Calls go on without the PCRF, so that it is not waited for."""
    core = PCscf(config, context.own, context.ids, context.store.load(BINDING))
    if config.rx is None or not config.authorises_media:
        return Node(core, {})
    rx = DiameterClient(config.rx, Application.RX, clock=context.clock, log=context.log, trace=context.trace)
    askers = {AaRequest: rx.ask, SessionTerminationRequest: rx.ask}
    return Node(core, askers, (Client("rx", rx, is_awaited=False),))


def main() -> int:
    """Run a P-CSCF."""
    return run("pcscf", PcscfConfig, build)


if __name__ == "__main__":
    sys.exit(main())
