"""Tallystick: self-hosted usage metering and entitlement enforcement.

The package's folders follow the path of the data: ``ingest`` → ``inbox`` → ``fold`` (with
``keys`` and ``metering``) → ``archive``; ``usage`` and ``entitlements`` answer; ``catalog`` holds
what was configured; ``api``, ``cli`` and ``process`` are the doors. ``ARCHITECTURE.md`` has the
figure and a reading order.
"""

__version__ = "0.1.0"
