"""Stigg's documented behaviour, asked of a real server through Stigg's own SDK.

Every answer is validated against the SDK's types (strict), and every test runs twice: with the
synchronous client and with the asynchronous one. Names say what is shown.
"""
