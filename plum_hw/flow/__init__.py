"""From a board's design to a bitstream: the tools that do it, and what their reports say."""
