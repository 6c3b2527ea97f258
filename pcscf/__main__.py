"""The P-CSCF as a process: `pcscf --config pcscf.toml`."""

import sys

from opencscf.common.node.process import Client, Context, Node, UeSide, run
from opencscf.common.sip.timers import TimerValues
from opencscf.diameter.connection import DiameterClient
from opencscf.diameter.dictionary import Application
from opencscf.diameter.rx import AaRequest, SessionTerminationRequest
from opencscf.pcscf.config import PcscfConfig
from opencscf.pcscf.core import PCscf
from opencscf.pcscf.state import BINDING


def build(config: PcscfConfig, context: Context) -> Node:
    """Wire shell to core. Calls go on without the PCRF, so that it is not waited for."""
    core = PCscf(config, context.own, context.ids, context.store.load(BINDING))
    timers = config.pcscf.ue_timers
    ue_side = UeSide(TimerValues(t1=timers.t1_s, t2=timers.t2_s, t4=timers.t4_s), core.is_from_ue)
    if config.rx is None or not config.authorises_media:
        return Node(core, {}, ue_side=ue_side)
    rx = DiameterClient(config.rx, Application.RX, clock=context.clock, log=context.log, trace=context.trace)
    askers = {AaRequest: rx.ask, SessionTerminationRequest: rx.ask}
    return Node(core, askers, (Client("rx", rx, is_awaited=False),), ue_side=ue_side)


def main() -> int:
    """Run a P-CSCF."""
    return run("pcscf", PcscfConfig, build)


if __name__ == "__main__":
    sys.exit(main())
