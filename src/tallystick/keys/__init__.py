"""Which keys were seen: 128-bit hashes in immutable sorted runs, behind Bloom filters."""
