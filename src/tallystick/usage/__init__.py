"""Usage: the counters, and reports that change them."""
