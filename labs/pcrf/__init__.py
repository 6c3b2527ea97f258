"""The lab's PCRF: Rx on python-diameter."""
