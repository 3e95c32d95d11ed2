"""The search stages that serving runs: encode, retrieve, fuse and rank a query, and replay a served one."""
