"""More than one machine: Ray Serve places, restarts and scales the fronts and the replicas of base models."""
