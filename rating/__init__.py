"""The arithmetic of Ratemill, pure: it knows no clock, file, network, environment or randomness."""
