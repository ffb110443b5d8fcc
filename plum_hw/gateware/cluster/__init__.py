"""One cluster: lanes over pixels, what feeds them and what takes their sums."""
