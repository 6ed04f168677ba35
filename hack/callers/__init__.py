"""The programs that call an OCI runtime, started for real, and what they are asked to do."""
