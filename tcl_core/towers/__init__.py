"""Image and text towers of published models as dense encoders, and the weights that they are read from."""
