"""One base model: its module, its queue, its adapters in memory. No HTTP, no SQL, no registry."""
