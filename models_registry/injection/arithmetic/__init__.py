"""How a module computes: by its weights as they are stored, in float32, or by float16 copies with float32 sums."""
