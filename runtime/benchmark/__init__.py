"""How fast this machine runs this bundle (`python -m runtime benchmark`)."""
