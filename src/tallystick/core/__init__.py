"""The pure core: numbers, meters, periods, entitlements. No I/O, clock, randomness or async."""
