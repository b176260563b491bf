"""How a layer adds its adapters' deltas, and which way is fastest here."""
