"""Statistics: confidence intervals, and win rates of methods from people's pairwise preferences."""
