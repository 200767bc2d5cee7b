"""Watching what people ask and what they get: drift, and what starts a turn of learning."""
