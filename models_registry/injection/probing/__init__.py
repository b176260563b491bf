"""What small forwards show of a base model."""
