"""Scenarios that a runtime is asked without a caller in between, inside a guest."""
