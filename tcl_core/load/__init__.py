"""One choice of a model for every command, and what it takes to build it."""
