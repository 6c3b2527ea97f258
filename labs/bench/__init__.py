"""What the core costs, measured on this machine."""
