"""The I-CSCF as a process: `icscf --config icscf.toml`."""

import sys

from opencscf.common.node.process import Client, Context, Node, run
from opencscf.diameter.connection import DiameterClient
from opencscf.diameter.cx import LocationInfoRequest, UserAuthorizationRequest
from opencscf.diameter.dictionary import Application
from opencscf.icscf.config import IcscfConfig
from opencscf.icscf.core import ICscf


def build(config: IcscfConfig, context: Context) -> Node:
    """Wire shell to core."""
    cx = DiameterClient(config.cx, Application.CX, clock=context.clock, log=context.log, trace=context.trace)
    core = ICscf(config, context.own, context.ids)
    askers = {UserAuthorizationRequest: cx.ask, LocationInfoRequest: cx.ask}
    return Node(core, askers, (Client("cx", cx, is_awaited=config.cx.require_at_start),))


def main() -> int:
    """Run an I-CSCF."""
    return run("icscf", IcscfConfig, build)


if __name__ == "__main__":
    sys.exit(main())
