"""A run with its diagnosis and prescriptions as one string: HTML, JSON or text."""
