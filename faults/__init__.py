"""Kills, power cuts, failing calls, races and full disks, against a model of what was acknowledged."""
