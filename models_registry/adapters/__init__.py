"""One file per adapter method, which modules a config targets, and how a checkpoint is read and written."""
