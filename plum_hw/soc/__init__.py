"""Software's side of the controller: flash images, firmware, simulation, generated files."""
