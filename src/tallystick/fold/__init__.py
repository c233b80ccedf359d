"""The fold: the owner of event-fed state. Inbox in; counters, archive and position out."""
