"""Faults injected into real processes under real traffic; what was promised is checked against a model afterwards.

A file a fault, numbered as in docs/reliability.md. `make chaos` runs them all at length and writes that page,
`make chaos-4` runs one of them.
"""
