"""Rules about the source itself, kept by a machine."""
