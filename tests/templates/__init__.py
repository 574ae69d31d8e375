"""Templates of notifications: their language, their choice, and the values they get."""
