"""The version of this program, as it was installed."""

import importlib.metadata
from typing import Final

VERSION: Final = importlib.metadata.version("llmring-api")
