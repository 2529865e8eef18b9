"""Ways in that are not HTTP: they authenticate, place and nudge."""
