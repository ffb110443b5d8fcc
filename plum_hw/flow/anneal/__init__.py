"""Our own placer for ECP5: simulated annealing that keeps what nextpnr's placers pull apart."""
