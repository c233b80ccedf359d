"""Objects: files in a bucket or a folder, found, read, and counted exactly once."""
