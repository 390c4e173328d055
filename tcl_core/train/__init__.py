"""Training: losses, loop, checkpoints (`python -m tcl_core.train`)."""
