"""The shell of Ratemill: flows, their connectors, and how they are started."""
