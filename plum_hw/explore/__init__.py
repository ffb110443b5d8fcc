"""Design-space exploration: which array of a board runs a network best."""
