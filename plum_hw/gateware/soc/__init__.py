"""The controller: a small processor, its memories and peripherals, and the array on its bus."""
