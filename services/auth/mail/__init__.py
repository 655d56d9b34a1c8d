"""Mail: what is written, and how it leaves."""
