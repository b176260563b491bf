"""Which requests run next, and which of them share a forward."""
