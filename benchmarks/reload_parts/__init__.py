"""Parts of ``hot_reload.py``: models and pictures, releases, the open-loop cameras, both managers, the figures."""
