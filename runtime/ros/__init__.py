"""What robots' messages are made of: pictures, labels, how they lie in memory and on the network."""
