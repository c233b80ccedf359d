"""The durable queue of accepted event requests."""
