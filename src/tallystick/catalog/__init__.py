"""What was configured: products, features, plans, customers, subscriptions.

Each noun has a module that owns its rows and its JSON; ``shapes`` hold what a caller may
send. Every change is one transaction, tells ``changes`` what it touched, and queues a recount where
it may move what was counted. What the configuration *means* at an instant is ``entitlements``.
"""
