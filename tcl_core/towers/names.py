"""Names that commands accept, apart from what they stand for: this file imports nothing, so that refusing is quick."""

HEADS = ("tcl", "maskclip", "sclip", "clearclip", "naclip")
"""What turns a tower into masks: the trained grounder, or a training-free rule (`tcl_core.towers.heads`)."""

HUB_SCHEMES = ("hf-hub:", "local-dir:")
"""Beginnings of model names that bring their weights."""
