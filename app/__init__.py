"""Drydock: short links for a team, and everything a service needs around them."""
