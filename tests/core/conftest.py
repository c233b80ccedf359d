"""How the laws of the core are searched for counterexamples."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a busy machine is no counterexample.
settings.register_profile("core", deadline=None)
settings.load_profile("core")
