"""Templates of notifications: a small language, checked when it is loaded, that can neither hang nor look outside."""
