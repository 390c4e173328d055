"""The paper's table: every system whose weights are at hand, on every benchmark whose data is."""
