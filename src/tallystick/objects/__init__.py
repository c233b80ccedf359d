"""Files of events in buckets and folders: found, read, and counted exactly once."""
