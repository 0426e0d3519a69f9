"""Applies prescriptions to models and proves them by trial."""
