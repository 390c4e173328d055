"""What is installed, what does not work, and what to do about it (`python -m runtime doctor`)."""
