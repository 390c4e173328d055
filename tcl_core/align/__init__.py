"""How the towers of the shipped model are made (`python -m tcl_core.align`)."""
