"""The page, and the HTTP interface beside it: `--serve`. Needs `pip install "tcl-edge[serve]"`."""
