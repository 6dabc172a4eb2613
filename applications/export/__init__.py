"""The hardened network as a file for others."""
