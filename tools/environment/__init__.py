"""How `make env` builds `.venv`. Standard library only: it runs before anything is installed."""
