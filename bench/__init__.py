"""Side by side: lockship against ``docker build`` with pip and with uv, on the same pins and the same base.

``python -m bench`` runs everything; ``--only`` picks rows, ``--quick`` runs each once.
"""
