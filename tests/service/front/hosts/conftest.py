from engine_fixtures import gate, running, start

__all__ = ["gate", "running", "start"]
