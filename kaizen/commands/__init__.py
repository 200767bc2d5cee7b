"""The commands of `kaizen`, one file per group."""
