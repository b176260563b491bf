"""Which rows of a forward use which adapters, and the plan of a layer for one routing."""
