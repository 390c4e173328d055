"""The C++ kernels, with checked arguments and a NumPy reference."""
