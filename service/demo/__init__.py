"""The demo that `make run` shows: two real base models and a small adapter that was trained with this project."""
