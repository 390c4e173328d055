"""The streaming loop, and what watches it."""
