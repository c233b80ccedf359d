"""The HTTP door: Stigg's REST API, and our own under ``/tally/v1``."""
