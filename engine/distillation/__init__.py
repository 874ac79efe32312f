"""Learning from another run's model as well (Hinton et al., Distilling the Knowledge in a Neural Network, 2015)."""
