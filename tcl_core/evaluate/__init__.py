"""Measuring masks on pictures with known ones (`python -m tcl_core.evaluate`)."""
