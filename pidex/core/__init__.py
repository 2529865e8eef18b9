"""Values and functions of values: no I/O, no clock, no framework."""
