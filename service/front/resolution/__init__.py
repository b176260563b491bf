"""References to exact versions, without a database read."""
