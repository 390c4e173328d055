"""Words as the user types them, and as the network takes them."""
