"""The schemas of the SQL store."""
