"""Figures, not tests: ratios between this project, its peers and the bare limits, measured side by side in one run."""
