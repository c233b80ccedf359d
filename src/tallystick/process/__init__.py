"""The processes: supervisor, API, worker, and what they share on one machine."""
