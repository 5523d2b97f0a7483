"""What Dagster needs of Kubernetes beyond its own launcher: the description of the training pod, and its supervision.

The only package that uses the Kubernetes client; needs the extra ``k8s``. Does not belong here: charts and values
(``deploy/kubernetes``), what the pod does (``training``), and when it is started (``defs.release``).
"""
