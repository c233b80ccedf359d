"""Measurements of Tallystick beside what engineers build at home. Run ``python -m bench``."""
