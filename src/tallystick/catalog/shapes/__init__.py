"""What a caller may send about each noun, field by field, as the official SDK documents it.

These are requests: unknown fields are refused, an omitted field is ``UNSET`` (so that ``null`` can
mean "none"). Money is accepted, stored and echoed, and never computed with.
"""
