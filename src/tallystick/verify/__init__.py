"""Proof of promise 4, and that the counters are what the record adds up to."""
