"""driftd as a service of the machine: what its unit says, where it is placed, and who is asked to start it."""
