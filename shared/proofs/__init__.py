"""All one needs to check a receipt offline: canonical bytes, signatures, and the verdict. Pure: no I/O."""
