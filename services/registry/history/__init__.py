"""What the public registry published from 2025 on, in small, and its replay into versions of this one."""
