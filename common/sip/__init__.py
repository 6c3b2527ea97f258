"""Pure SIP: RFC 3261 and its updates, without sockets, clocks or randomness."""
