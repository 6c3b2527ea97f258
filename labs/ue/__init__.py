"""Simulated UEs: IMS-AKA registration and calls."""
