import cluster.without_pandas  # noqa: F401 (importing it is what it is for; before anything here imports Serve)
