"""Reports on what was built: resources by open synthesis."""
