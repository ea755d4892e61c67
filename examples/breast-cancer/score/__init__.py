"""Scoring for the breast-cancer model: CSV in, predictions out."""
