"""A guided tour: a live server, fed through every way in with Stigg's official SDK.

Run it with ``make demo``. It uses the product from outside alone: its command line and its API.
"""
