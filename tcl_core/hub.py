"""`python -m tcl_core.hub`: see `tcl_core.train.hub`."""

from tcl_core.train.hub import app

if __name__ == "__main__":
    app()
