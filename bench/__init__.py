"""Measurements that anybody can repeat; each compares with something in the same run."""
