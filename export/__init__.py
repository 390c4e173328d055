"""A model becomes a bundle: ONNX graphs, words, manifest, and the comparison that vouches for them."""
