"""Pure 3GPP pieces that several nodes share."""
