"""Many runs as one table with statistics."""
