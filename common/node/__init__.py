"""Shell: what makes a core a running process."""
