"""What a customer may do now: the rules that hold, and the answer to a check.

``rules`` keeps the configuration in memory in the form that the fold, reports, checks and history
ask for; ``check`` decides.
"""
