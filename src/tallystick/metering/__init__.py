"""What a meter means, spelled once, as SQL over the relation ``events``.

The fold runs this text over a micro-batch, recount and history over the archive. ``compile`` turns
a meter into a select of the events that count; ``aggregate`` groups those into usage periods.
"""
