"""Shell: sockets in, messages out."""
