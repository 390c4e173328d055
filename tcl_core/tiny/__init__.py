"""The model inside the package: its towers, decoder, file and weights."""
