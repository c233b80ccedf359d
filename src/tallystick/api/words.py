"""What names mean, in one sentence each, for the OpenAPI document.

A name means the same wherever it occurs; a sentence here describes every field of that name that
does not describe itself.
"""

from __future__ import annotations

from typing import Final

TAGS: Final = {
    "Events": "Raw events, aggregated by the meters of features.",
    "Usage": "Usage that the caller counted, and histories of all usage.",
    "Entitlements": "What a customer may use now.",
    "Customers": "Who uses the product.",
    "Subscriptions": "Which plan a customer has, and since when.",
    "Products": "What is sold; a container of plans.",
    "Plans": "What a subscription grants.",
    "Features": "What is granted and measured.",
    "Operations": "Running the server.",
}
"""Groups of operations, in the order in which they are shown."""

PATH_WORDS: Final = {
    ("customers", "{id}"): "The customer's id.",
    ("features", "{id}"): "The feature's id.",
    ("plans", "{id}"): "The plan's id.",
    ("plans", "{planId}"): "The plan's id.",
    ("products", "{id}"): "The product's id.",
    ("subscriptions", "{id}"): "The subscription's id.",
    ("entitlements", "{id}"): "The id of the feature that is granted.",
    ("usage", "{customerId}"): "The customer's id.",
    ("history", "{featureId}"): "The feature's id.",
    ("promotional-entitlements", "{featureId}"): "The feature's id.",
}
"""What a name in a path means, by the segment before it."""

WORDS: Final = {
    "accessDeniedReason": "Why access is denied; null when it is granted.",
    "asOf": "Every event accepted before this time is counted.",
    "createdAt": "When it was created; of a usage report, when the usage happened (default: now).",
    "currentUsage": "The total of the current period.",
    "customerId": "The customer's id.",
    "data": "The answer.",
    "dimensions": "Names and values that describe it; filters and groups refer to them.",
    "entitlements": "What is granted.",
    "eventName": "What happened. Names beginning with `$` are reserved.",
    "events": "1 to 1,000 events.",
    "feature": "The feature; null when it is unknown.",
    "featureId": "The feature's id.",
    "hasUnlimitedUsage": "Whether there is no limit.",
    "id": "The id, unique in its environment.",
    "idempotencyKey": "Names this occurrence: what is sent again with the same key counts once.",
    "isGranted": "Whether access is granted.",
    "isResetPoint": "Whether usage was reset at this point.",
    "message": "What is wrong, where, and what to do.",
    "code": "A name for programs, in PascalCase.",
    "next": "The cursor of the following page; null on the last.",
    "prev": "The cursor of the preceding page; null on the first.",
    "nextResetDate": "When usage is reset next; null when it never is.",
    "now": "Where the clock stands.",
    "pagination": "The cursors of the neighbouring pages.",
    "points": "The points, in time order.",
    "position": "The last inbox position that is counted.",
    "resourceId": "The customer's resource that is meant; null for the customer itself.",
    "series": "One series for each combination of tags.",
    "markers": "When usage was reset, and why.",
    "tags": "The dimensions and values of the series; empty without `groupBy`.",
    "timestamp": "When it happened, RFC 3339; of an event the default is its arrival.",
    "type": "Which kind it is.",
    "updateBehavior": "`DELTA` adds to the total, `SET` sets it.",
    "usageLimit": "How much may be used in a period, or the number that the plan carries.",
    "usagePeriodAnchor": "The instant from which periods are computed.",
    "usagePeriodEnd": "Where the current period ends; null when usage never resets.",
    "usagePeriodStart": "Where the current period begins; null when usage never resets.",
    "usages": "1 to 100 usage reports, or what was recorded of each.",
    "validUntil": "When a client should ask again at the latest.",
    "value": "The value; of a usage report, how much was used, as an exact decimal.",
}
