"""Fail every outside call once, for each process that writes, and check the accounts every time.

The parts, from the inside out:

- `calls`: what an outside call is known by, and what can happen to it;
- `interceptor` and `edges`: count and fail the calls of a process, at the edge of its drivers;
- `stem`, `child`: real processes of the product, forked from one that has imported everything;
- `street`: a database, topics and the processes beside the one that is tested;
- `script`: what a client sends, and how it tries again;
- `audit`: the checker;
- `case`, `campaign`: one fault, and all of them.
"""
