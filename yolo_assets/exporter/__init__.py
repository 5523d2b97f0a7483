"""The platform's figures for Prometheus: what the Dagster instance, the stores and the spool say of the plant.

    instance     ─► runs, partitions ─┐
    store        ─► releases, fleet ──┼─► collectors ─► /metrics
    store, spool ─► catalog, backlog ─┘

Everything is read; nothing is written, requested or decided. Belongs here: the figures of Dagster's instance, of
archiving and of releases, each as a function that gives metric families, and what keeps a scrape cheap (``cached``).
Does not belong here: alerts and dashboards (``deploy/monitoring``), the page that serves them
(``runtime.metrics_page``), metrics of one agent or archiver.
"""
