"""What the benchmarks beside this folder share: processes, a site, peers, load, tables."""
