"""`python -m tcl_core.pack`: see `tcl_core.align.pack`."""

from tcl_core.align.pack import app

if __name__ == "__main__":
    app()
