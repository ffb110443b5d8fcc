"""Golden models in NumPy, exact to the bit: ``reference`` evaluates a network, ``machine`` executes
a compiled bundle.
"""
