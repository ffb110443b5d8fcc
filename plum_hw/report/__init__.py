"""Reports: cycles of a bundle, resources by open synthesis, pictures in a terminal."""
